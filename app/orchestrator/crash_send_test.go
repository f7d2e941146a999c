package orchestrator_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// The process dies before, and after, each store write and each call to a worker of a send with a key, in turn: the record, the
// forward, the end. The sender repeats the send with its key at the next process. The worker sends the message once at most, and
// every further repeat is answered the same.
func TestCrash_AtEveryOperationOfAKeyedSend_KeyStandsForOneMessage(t *testing.T) {
	ctx := context.Background()
	// operations of a send: the row and its key, the call, the outcome.
	const operations = 3
	for _, isShared := range []bool{false, true} {
		for endAt := 1; endAt <= operations; endAt++ {
			for _, isBefore := range []bool{true, false} {
				t.Run(fmt.Sprintf("shared %t, operation %d, before %t", isShared, endAt, isBefore), func(t *testing.T) {
					m := newCrashableProcess(t, isShared)
					m.connect()
					send := func() (*domain.Message, bool, error) {
						return m.Messages.SendOnce(ctx, service.Sender{UserID: m.user, SessionID: m.id}, "order 17",
							&domain.Outgoing{To: "6281111111111", Type: domain.TypeText, Text: "hello"})
					}
					sends := func() (n int) {
						for _, times := range m.fleet.sent {
							n += times
						}
						return n
					}
					l := &lifetime{}
					m.start(l)
					_, err := m.Sessions.Get(ctx, m.user, m.id)
					require.NoError(t, err)
					l.mu.Lock()
					l.endAt, l.before = l.ops+endAt, isBefore
					l.mu.Unlock()
					_, _, _ = send()
					require.True(t, l.dead)
					forwarded := sends()

					m.start(&lifetime{})
					second, isReplay, err := send()
					isRecorded := endAt > 1 || !isBefore
					isSettled := endAt == operations && !isBefore
					require.Equal(t, isRecorded, isReplay)
					switch {
					case isSettled, !isRecorded:
						require.NoError(t, err)
						require.Equal(t, domain.MessageSent, second.Status)
						require.Equal(t, 1, sends())
					default:
						require.Equal(t, domain.CodeWorkerTimeout, domain.CodeOf(err))
						require.Equal(t, domain.MessagePending, second.Status)
						require.Equal(t, forwarded, sends(), "nothing is sent again")
					}
					require.LessOrEqual(t, sends(), 1)
					third, isReplay, again := send()
					require.True(t, isReplay)
					require.Equal(t, second.ID, third.ID)
					require.Equal(t, second.Status, third.Status)
					require.Equal(t, domain.CodeOf(err), domain.CodeOf(again))
				})
			}
		}
	}
}
