package messaging_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// texts returns messages "0", "1" and so on.
func texts(n int) []service.SendItem {
	items := make([]service.SendItem, n)
	for i := range items {
		items[i].Message = &domain.Outgoing{To: "6281111111111", Type: domain.TypeText, Text: fmt.Sprint(i)}
	}
	return items
}

func (r *replica) sendAll(t *testing.T, key string, items []service.SendItem) []service.SendResult {
	t.Helper()
	results, err := r.messages.SendAll(context.Background(), r.sender, key, items)
	require.NoError(t, err)
	require.Len(t, results, len(items))
	return results
}

// codes returns the codes of results; "" for success, "replay" for a successful repeat.
func codes(results []service.SendResult) []string {
	list := make([]string, len(results))
	for i, r := range results {
		list[i] = string(domain.CodeOf(r.Err))
		if r.IsReplay && r.Err == nil {
			list[i] = "replay"
		}
	}
	return list
}

// recordSends returns a function that returns the texts that have reached a worker, in order.
func recordSends(w *coretest.Workers) func() string {
	var mu sync.Mutex
	var sent []string
	w.AnswerSends(func(s ports.Send) ports.Sent {
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, s.Message.Text)
		return ports.Sent{WhatsAppID: "WA-" + s.ClientMessageID}
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(sent, " ")
	}
}

func TestSendAll_Messages_AreSentInTheirOrder(t *testing.T) {
	r := newFixture(t)
	sent := recordSends(r.Gateway)
	results := r.sendAll(t, "", texts(12))
	require.Equal(t, "0 1 2 3 4 5 6 7 8 9 10 11", sent())
	for i, got := range results {
		require.NoError(t, got.Err)
		require.Equal(t, fmt.Sprint(i), got.Message.Content)
		require.Equal(t, domain.MessageSent, got.Message.Status)
	}
	require.Equal(t, 12, r.used(t))
}

func TestSendAll_Failures_DoNotStopOthers(t *testing.T) {
	r := newFixture(t)
	sent, calls := recordSends(r.Gateway), 0
	r.Gateway.Answer(func(coretest.Call) error {
		calls++
		if calls == 2 {
			return &ports.WorkerError{Failure: ports.WorkerTimedOut}
		}
		return nil
	})
	items := texts(5)
	items[0].Refusal = domain.Errorf(domain.Invalid, domain.CodeValidation, "It could not be read")
	items[3].Message.To = "12"
	results := r.sendAll(t, "", items)
	require.Equal(t, []string{"VALIDATION_ERROR", "", "WORKER_TIMEOUT", "VALIDATION_ERROR", ""}, codes(results))
	require.Equal(t, items[0].Refusal, results[0].Err)
	require.Equal(t, "1 4", sent())
	require.Equal(t, domain.MessagePending, results[2].Message.Status, "its id is needed to look it up")
	require.Equal(t, 3, r.used(t))
}

func TestSendAll_InvalidListOrMissingSession_IsRefused(t *testing.T) {
	r := newFixture(t)
	send := func(s service.Sender, key string, items []service.SendItem) domain.Code {
		results, err := r.messages.SendAll(context.Background(), s, key, items)
		require.Nil(t, results)
		return domain.CodeOf(err)
	}
	require.Equal(t, domain.CodeValidation, send(r.sender, "", nil))
	require.Equal(t, domain.CodeValidation, send(r.sender, "", texts(101)))
	require.Equal(t, domain.CodeValidation, send(r.sender, "ü", texts(1)))
	require.Equal(t, domain.CodeSessionNotFound, send(service.Sender{UserID: r.sender.UserID, SessionID: "s9"}, "", texts(1)))
	require.Equal(t, domain.CodeSessionNotFound, send(service.Sender{UserID: r.AddUser(domain.TierMax), SessionID: "s1"}, "", texts(1)))
	require.Empty(t, r.Gateway.Calls("send"))
}

// The limit passes as many messages of the list as there is room for.
func TestSendAll_LimitIsUsedUp_RefusesTheRest(t *testing.T) {
	r := newReplica(coretest.New(t), service.Sender{})
	r.AddWorker("w1", 50)
	r.sender = service.Sender{UserID: r.AddUser(domain.TierBasic), SessionID: "s1"}
	r.AddConnected(r.sender.UserID, "s1", "w1")
	require.NoError(t, r.Sync.Load(context.Background()))
	_, err := r.send()
	require.NoError(t, err)
	results := codes(r.sendAll(t, "", texts(100)))
	for i, code := range results[:99] {
		require.Empty(t, code, i)
	}
	require.Equal(t, "MESSAGE_LIMIT_EXCEEDED", results[99])
	require.Len(t, r.Gateway.Calls("send"), 100)
}

func TestSendAll_RepeatWithKey_SendsWhatIsMissing(t *testing.T) {
	a, b := newPair(t)
	sent := recordSends(a.Gateway)
	ctx, hangUp := context.WithCancel(context.Background())
	a.Gateway.Answer(func(coretest.Call) error {
		if len(a.Gateway.Calls("send")) == 3 {
			hangUp() // during the third send, which is recorded
		}
		return nil
	})
	first, err := a.messages.SendAll(ctx, a.sender, "order 17", texts(5))
	require.NoError(t, err)
	require.Equal(t, []string{"", "", "", "OVERLOADED", "OVERLOADED"}, codes(first))
	require.Equal(t, "0 1 2", sent())
	require.Equal(t, 3, a.used(t))

	again := b.sendAll(t, "order 17", texts(5))
	require.Equal(t, []string{"replay", "replay", "replay", "", ""}, codes(again))
	for i := range 3 {
		require.Equal(t, first[i].Message.ID, again[i].Message.ID)
	}
	whole := a.sendAll(t, "order 17", texts(5))
	require.Equal(t, []string{"replay", "replay", "replay", "replay", "replay"}, codes(whole))
	require.Equal(t, "0 1 2 3 4", sent())
	require.Equal(t, 5, a.used(t))
}

func TestSendAll_Keys_StandForOneMessageEach(t *testing.T) {
	r := newFixture(t)
	sent := recordSends(r.Gateway)
	items := texts(3)
	items[1].Key = "own"
	require.Equal(t, []string{"", "", ""}, codes(r.sendAll(t, "call", items)))
	require.True(t, r.sendTextOnce("own", "1").isReplay, "a key of its own is that of a single send")
	require.False(t, r.sendTextOnce("call", "0").isReplay, "the key of the call is no key of a message")

	items[2].Message.Text = "another"
	require.Equal(t, []string{"replay", "replay", "IDEMPOTENCY_CONFLICT"}, codes(r.sendAll(t, "call", items)))
	long := strings.Repeat("k", 255)
	require.Equal(t, []string{""}, codes(r.sendAll(t, long, texts(1))))
	require.Equal(t, []string{"replay"}, codes(r.sendAll(t, long, texts(1))))
	require.Equal(t, "0 1 2 0 0", sent())
}

// Two equal calls at once send each message once, in order.
func TestSendAll_EqualCallsAtOnce_SendEachMessageOnce(t *testing.T) {
	r := newFixture(t)
	sent := recordSends(r.Gateway)
	var calls sync.WaitGroup
	replays := make([]int, 4)
	for c := range replays {
		calls.Go(func() {
			results, err := r.messages.SendAll(context.Background(), r.sender, "k", texts(10))
			assert.NoError(t, err)
			for _, got := range results {
				assert.NoError(t, got.Err)
				if got.IsReplay {
					replays[c]++
				}
			}
		})
	}
	calls.Wait()
	require.Equal(t, "0 1 2 3 4 5 6 7 8 9", sent())
	require.Equal(t, 30, replays[0]+replays[1]+replays[2]+replays[3])
}

func TestSendAll_SlowWorker_EndsInTime(t *testing.T) {
	r := newFixture(t)
	sent, clock := recordSends(r.Gateway), r.Now()
	r.Gateway.Answer(func(coretest.Call) error {
		r.Clock.Advance(9 * time.Second)
		return nil
	})
	results := r.sendAll(t, "k", texts(6))
	require.Equal(t, []string{"", "", "", "", "OVERLOADED", "OVERLOADED"}, codes(results))
	require.Equal(t, 36*time.Second, r.Now().Sub(clock))
	require.Contains(t, results[5].Err.Error(), "Not sent")
	require.Equal(t, 4, r.used(t))

	r.Gateway.Succeed()
	require.Equal(t, []string{"replay", "replay", "replay", "replay", "", ""}, codes(r.sendAll(t, "k", texts(6))))
	require.Equal(t, "0 1 2 3 4 5", sent())
}

func TestSendAll_SessionIsDown_AnswersRepeatsStill(t *testing.T) {
	r := newFixture(t)
	require.Equal(t, []string{""}, codes(r.sendAll(t, "k", texts(1))))
	r.Change("s1", func(s *domain.Session) { s.Disconnect(r.Now()) })
	require.Equal(t, []string{"replay", "SESSION_NOT_CONNECTED"}, codes(r.sendAll(t, "k", texts(2))))
}

func TestSendAll_SenderLosesAccess_SendsNothingFurther(t *testing.T) {
	key := domain.APIKey{ID: "k1", SessionID: "s1", Name: "key", Hint: "wg_", Hash: [32]byte{1}}
	for name, c := range map[string]struct {
		end  func(ctx context.Context, tx *ports.Tx, key *domain.APIKey) error
		want string
	}{
		"key is deleted": {func(ctx context.Context, tx *ports.Tx, key *domain.APIKey) error {
			return tx.APIKeys.Delete(ctx, key.ID)
		}, "API_KEY_INVALID"},
		"key is rotated": {func(ctx context.Context, tx *ports.Tx, key *domain.APIKey) error {
			key.ExpiresAt = key.CreatedAt
			return tx.APIKeys.Put(ctx, key)
		}, "API_KEY_EXPIRED"},
		"user is deactivated": {func(ctx context.Context, tx *ports.Tx, key *domain.APIKey) error {
			u, err := tx.Users.Get(ctx, key.UserID)
			if err != nil {
				return err
			}
			u.Active = false
			return tx.Users.Put(ctx, u)
		}, "ACCOUNT_DEACTIVATED"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			sent, own := recordSends(r.Gateway), key
			own.UserID, own.CreatedAt = r.sender.UserID, r.Now()
			r.sender.KeyID = own.ID
			require.NoError(t, r.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error { return tx.APIKeys.Put(ctx, &own) }))
			r.Gateway.Answer(func(coretest.Call) error {
				if len(r.Gateway.Calls("send")) != 2 {
					return nil
				}
				r.Clock.Advance(2 * time.Second) // users are cached for a second
				return r.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
					stored, err := tx.APIKeys.Get(ctx, own.ID)
					if err != nil {
						return err
					}
					return c.end(ctx, tx, stored)
				})
			})
			require.Equal(t, []string{"", "", c.want, c.want}, codes(r.sendAll(t, "", texts(4))))
			require.Equal(t, "0 1", sent())
		})
	}
}
