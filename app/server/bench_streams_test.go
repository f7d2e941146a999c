package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	streamUsers    = 50
	streamsOfUser  = 100 // as many as a user may have
	openersAtOnce  = 32
	streamedEvents = 200
	outageEvents   = 40
	streamPause    = 20 * time.Millisecond // between two events
	slowReaders    = 5
	slowUser       = streamUsers // one more user
	longText       = 4000
	floodBytes     = 10 << 20         // more than the system's buffers of a connection hold
	dropsWithin    = 15 * time.Second // the server drops a reader after 10 s
)

// BenchmarkStreams opens 5,000 streams of events on the built binary, and measures its resident memory before and after, and how long
// an event takes to all readers of its session: from the worker's answer to the last reader. With two replicas each has half of the
// streams, and one of them sends; then Redis ends, and replicas look for events by themselves. Readers that take nothing have to be
// dropped.
func BenchmarkStreams(b *testing.B) {
	binary := buildBinary(b)
	b.Run("sqlite", func(b *testing.B) {
		k := newStreamBench(b, binary, onSQLite(b), 1)
		k.measureMemory()
		b.ReportMetric(k.measureEvents(0, streamedEvents, "an event").all, "ms-to-all-readers")
		k.reportDropped()
	})
	b.Run("postgres+redis/replicas=2", func(b *testing.B) {
		redis := redistest.Start(b)
		k := newStreamBench(b, binary, backing{postgrestest.Start(b, "fsync=on").NewDatabase(b), redis.URL()}, 2)
		k.measureMemory()
		b.ReportMetric(k.measureEvents(0, streamedEvents, "an event across replicas").across, "ms-across")
		redis.Kill()
		b.ReportMetric(k.measureEvents(streamedEvents, streamedEvents+outageEvents, "an event across replicas without Redis").across, "ms-across-without-redis")
	})
}

// measureMemory opens all streams.
func (k *streamBench) measureMemory() {
	before := k.resident()
	k.openStreams()
	opened := k.resident() - before
	k.b.ReportMetric(0, "ns/op")
	k.b.ReportMetric(opened, "MB-added")
	if opened > 150 {
		k.b.Logf("SHORTFALL: %d streams take %.0f MB, should be at most 150 MB", streamUsers*streamsOfUser, opened)
	}
}

// measureEvents sends events with the numbers [from, to), and returns how long they took.
func (k *streamBench) measureEvents(from, to int, what string) latency {
	k.sendEvents(from, to)
	l := k.latencies(from, to)
	if longest := max(l.all, l.across); longest > 100 {
		k.b.Logf("SHORTFALL: %s takes %.0f ms to all readers, should be at most 100 ms", what, longest)
	}
	return l
}

// latency is medians in milliseconds.
type latency struct {
	all    float64 // until all readers had an event
	across float64 // until all readers at another replica had it
}

// streamBench is the processes, users and streams of a measurement.
type streamBench struct {
	b        *testing.B
	replicas []*program // the first one sends
	users    []streamUser
	events   [streamedEvents + outageEvents]measuredEvent
}

// streamUser is a user with a connected session.
type streamUser struct {
	token, key string
}

// measuredEvent is when the readers of an event received it.
type measuredEvent struct {
	mu         sync.Mutex
	answered   time.Time // when the worker answered
	last       time.Duration
	lastAcross time.Duration // of readers at another replica
	readers    sync.WaitGroup
}

var numbered = regexp.MustCompile(`event-(\d+)-`)

// eventIn returns the event that a text names.
func (k *streamBench) eventIn(text []byte) *measuredEvent {
	found := numbered.FindSubmatch(text)
	if found == nil {
		return nil
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil || n >= len(k.events) {
		return nil
	}
	return &k.events[n]
}

// newStreamBench stores users with connected sessions, whose worker answers at once, and starts replicas.
func newStreamBench(b *testing.B, binary string, on backing, replicas int) *streamBench {
	k := &streamBench{b: b}
	k.prepare(on)
	flags := []string{"--jwt-secret", benchmarkSecret, "--worker-token", benchmarkFleetToken, "--rate-limits", neverReached}
	if on.coordination != "" {
		flags = append(flags, "--fabric", on.coordination)
	}
	for range replicas {
		k.replicas = append(k.replicas, startBinary(b, binary, on.store, flags...))
	}
	k.send(0, "the first message makes the process ready")
	return k
}

// prepare stores users with connected sessions.
func (k *streamBench) prepare(on backing) {
	b := k.b
	worker := httptest.NewServer(http.HandlerFunc(k.answerAsWorker))
	b.Cleanup(worker.Close)
	ctx := b.Context()
	s, stop := startStoppable(b, on)
	defer stop()
	_, err := s.Orchestrator.Protocol.Register(ctx, domain.Registration{WorkerID: "instant", Endpoint: worker.URL, Interval: time.Hour, Capacity: streamUsers + 1})
	require.NoError(b, err)
	for i := range streamUsers + 1 {
		tokens, err := s.Accounts.Register(ctx, "Reader", fmt.Sprintf("reader%d@example.com", i), "correct-horse-1")
		require.NoError(b, err)
		session, err := s.Orchestrator.Sessions.Create(ctx, tokens.User.ID, service.CreateSessionParams{Name: "line"})
		require.NoError(b, err)
		_, err = s.Orchestrator.Sessions.Connect(ctx, tokens.User.ID, session.ID, service.ConnectOptions{})
		require.NoError(b, err)
		k.users = append(k.users, streamUser{token: tokens.Token, key: session.APIKey})
	}
}

// answerAsWorker answers a call of the worker protocol, and notes when.
func (k *streamBench) answerAsWorker(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if e := k.eventIn(body); e != nil {
		e.mu.Lock()
		e.answered = time.Now()
		e.mu.Unlock()
	}
	instantWorker(w, r)
}

// send sends a text through the session of a user.
func (k *streamBench) send(user int, text string) {
	conn, err := net.Dial("tcp", k.replicas[0].addr)
	require.NoError(k.b, err)
	defer conn.Close()
	_, err = conn.Write(post(k.replicas[0].addr, "/api/v1/sendText", k.users[user].key, fmt.Sprintf(`{"to":"6281234567890","message":%q}`, text)))
	require.NoError(k.b, err)
	require.NoError(k.b, answer(bufio.NewReader(conn)))
}

// resident returns the resident memory of all replicas in MB.
func (k *streamBench) resident() (sum float64) {
	for _, p := range k.replicas {
		sum += p.resident(k.b)
	}
	return sum
}

// openStreams opens all streams, several at once, and reads them in the background.
func (k *streamBench) openStreams() {
	var opening sync.WaitGroup
	free := make(chan struct{}, openersAtOnce)
	for u := range streamUsers {
		for i := range streamsOfUser {
			opening.Go(func() {
				free <- struct{}{}
				defer func() { <-free }()
				_, in, err := k.open(u, i%len(k.replicas))
				if err != nil {
					k.b.Error(err)
					return
				}
				go k.read(in, i%len(k.replicas) != 0)
			})
		}
	}
	opening.Wait()
	require.False(k.b, k.b.Failed())
}

// open opens a stream of a user at a replica, and reads up to its first event.
func (k *streamBench) open(user, replica int) (net.Conn, *bufio.Reader, error) {
	conn, err := net.Dial("tcp", k.replicas[replica].addr)
	if err != nil {
		return nil, nil, err
	}
	k.b.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "GET /api/v1/events HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n",
		k.replicas[replica].addr, k.users[user].token)
	in := bufio.NewReaderSize(conn, 2048)
	var line string
	for err == nil && !strings.HasPrefix(line, "retry:") {
		line, err = in.ReadString('\n')
		if strings.HasPrefix(line, "HTTP/1.1 ") && !strings.HasPrefix(line, "HTTP/1.1 200") {
			err = errors.New(line)
		}
	}
	return conn, in, err
}

// read notes the events of a stream until it ends.
func (k *streamBench) read(in *bufio.Reader, isAcross bool) {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		e := k.eventIn(line)
		if e == nil {
			continue
		}
		e.mu.Lock()
		took := time.Since(e.answered)
		e.last = max(e.last, took)
		if isAcross {
			e.lastAcross = max(e.lastAcross, took)
		}
		e.mu.Unlock()
		e.readers.Done()
	}
}

// sendEvents sends a message a time, through the sessions of all users in turn, and waits until all readers have its event.
func (k *streamBench) sendEvents(from, to int) {
	for n := from; n < to; n++ {
		k.events[n].readers.Add(streamsOfUser)
		k.send(n%streamUsers, fmt.Sprintf("event-%d-", n))
		time.Sleep(streamPause)
	}
	for n := from; n < to; n++ {
		k.events[n].readers.Wait()
	}
}

// latencies returns how long the events took.
func (k *streamBench) latencies(from, to int) latency {
	var last, lastAcross []float64
	for n := from; n < to; n++ {
		last = append(last, k.events[n].last.Seconds()*1000)
		lastAcross = append(lastAcross, k.events[n].lastAcross.Seconds()*1000)
	}
	return latency{median(last), median(lastAcross)}
}

// reportDropped opens streams that take nothing, sends more than buffers hold, and counts the streams that the server has ended: their
// user may open as many others.
func (k *streamBench) reportDropped() {
	for range slowReaders {
		conn, _, err := k.open(slowUser, 0)
		require.NoError(k.b, err)
		require.NoError(k.b, conn.(*net.TCPConn).SetReadBuffer(4096))
	}
	long := strings.Repeat("x", longText)
	for range floodBytes / longText {
		k.send(slowUser, long)
	}
	time.Sleep(dropsWithin)
	dropped := slowReaders - streamsOfUser
	for {
		if _, _, err := k.open(slowUser, 0); err != nil {
			break
		}
		dropped++
	}
	k.b.ReportMetric(float64(dropped), "slow-dropped")
	if dropped < slowReaders {
		k.b.Logf("SHORTFALL: %d of %d slow readers were dropped", dropped, slowReaders)
	}
}
