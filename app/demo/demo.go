// Package demo shows the journey of a user in one terminal. It starts a server
// and two simulated workers in this process. All calls go over HTTP, as they do
// between machines.
package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/server"
	"github.com/switchyard-wa/switchyard/domain"
)

const (
	stepTimeout = 30 * time.Second
	phone       = "6281234567890"
)

// Run writes the journey to out. It returns an error if a step failed.
func Run(ctx context.Context, out io.Writer, version string) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	quiet := slog.New(slog.DiscardHandler)
	s, err := server.New(ctx, server.Config{
		Addr: "127.0.0.1:0", Store: "memory:", Log: quiet, Out: io.Discard, Version: version,
		Timing: domain.Timing{ProbeInterval: 300 * time.Millisecond, FailoverDelay: 500 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t := &journey{out: out, url: s.URL(), client: &http.Client{Timeout: stepTimeout}, workers: map[string]*simworker.Worker{}}
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	t.say("A gateway listens on %s, with its data in memory.", t.url)
	state := simworker.NewState()
	var serving sync.WaitGroup
	defer serving.Wait()
	defer stop()
	for _, id := range []string{"worker-1", "worker-2"} {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		control := simworker.NewControl(t.url, s.WorkerToken())
		w := simworker.New(simworker.Config{ID: id, State: state, ScanAfter: 3 * time.Second}, control)
		t.workers[id] = w
		serving.Go(func() {
			defer control.Close()
			// A crashed worker returns an error. The crash is part of the journey.
			_ = simworker.Serve(ctx, listener, w, simworker.ServeConfig{Token: s.WorkerToken()})
		})
	}
	return t.run(ctx)
}

// journey holds the state that its steps share.
type journey struct {
	out     io.Writer
	url     string
	client  *http.Client
	workers map[string]*simworker.Worker
	step    int

	token, session, key string
}

// say writes a line.
func (t *journey) say(format string, args ...any) {
	fmt.Fprintf(t.out, format+"\n", args...)
}

// title writes the title of the next step.
func (t *journey) title(format string, args ...any) {
	t.step++
	fmt.Fprintf(t.out, "\n%d. %s\n", t.step, fmt.Sprintf(format, args...))
}

// run runs the steps in their order.
func (t *journey) run(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		t.register, t.create, t.connect, t.scan, t.send, t.crash, t.sendAgain, t.history,
	} {
		if err := part(ctx); err != nil {
			return fmt.Errorf("step %d did not do what it should: %w", t.step, err)
		}
	}
	t.say("\nThat was the whole journey. Run your own: switchyard serve --simulated-workers 2")
	return nil
}

func (t *journey) register(ctx context.Context) error {
	t.title("A user registers.")
	var got struct {
		User  struct{ Email, Tier string }
		Token string
	}
	err := t.call(ctx, "POST", "/auth/register", "", map[string]any{
		"name": "Ada", "email": "ada@example.com", "password": "correct-horse-1",
	}, &got)
	t.token = got.Token
	t.say("   %s, tier %s", got.User.Email, got.User.Tier)
	return errors.Join(err, expect("a token", got.Token != ""))
}

func (t *journey) create(ctx context.Context) error {
	t.title("She creates a session. Its API key is shown this once.")
	var got struct{ ID, Status, APIKey string }
	err := t.call(ctx, "POST", "/sessions", t.token, map[string]any{"name": "Support line"}, &got)
	t.session, t.key = got.ID, got.APIKey
	t.say("   %s, %s", got.ID, got.Status)
	return errors.Join(err, expect("a session that is DISCONNECTED", got.Status == "DISCONNECTED"), expect("a key", t.key != ""))
}

func (t *journey) connect(ctx context.Context) error {
	t.title("She connects it: a worker is chosen and asked for a QR code.")
	var got struct{ Status, WorkerID, QRString string }
	if err := t.call(ctx, "POST", "/sessions/"+t.session+"/connect?wait=20s", t.token, nil, &got); err != nil {
		return err
	}
	t.say("   on %s, %s", got.WorkerID, got.Status)
	drawing, err := t.text(ctx, "/sessions/"+t.session+"/qr?format=text")
	t.say("\n%s", drawing)
	return errors.Join(err, expect("a QR code", got.QRString != ""))
}

func (t *journey) scan(ctx context.Context) error {
	t.title("The pretended phone scans it.")
	s, err := t.until(ctx, func(s status) bool { return s.Status == "CONNECTED" })
	t.say("   %s as %s", s.Status, s.PhoneNumber)
	return err
}

func (t *journey) send(ctx context.Context) error {
	t.title("Her program sends a message with the API key.")
	return t.sendText(ctx, "Hello from Switchyard")
}

func (t *journey) sendText(ctx context.Context, text string) error {
	var got struct{ MessageID, To, Status string }
	err := t.call(ctx, "POST", "/sendText", t.key, map[string]any{"to": phone, "message": text}, &got)
	t.say("   %s to %s: %s", got.MessageID, got.To, got.Status)
	return errors.Join(err, expect("a message that is SENT", got.Status == "SENT" && got.MessageID != ""))
}

func (t *journey) crash(ctx context.Context) error {
	before, err := t.until(ctx, func(s status) bool { return s.WorkerID != "" })
	if err != nil {
		return err
	}
	t.title("%s dies without warning.", before.WorkerID)
	began := time.Now()
	t.workers[before.WorkerID].Crash()
	lost, err := t.until(ctx, func(s status) bool { return s.Status != "CONNECTED" || s.WorkerID != before.WorkerID })
	if err != nil {
		return err
	}
	t.say("   noticed after %v: %s", time.Since(began).Round(10*time.Millisecond), lost.Status)
	after, err := t.until(ctx, func(s status) bool { return s.Status == "CONNECTED" && s.WorkerID != before.WorkerID })
	t.say("   back after %v: %s on %s, generation %d, no new QR", time.Since(began).Round(10*time.Millisecond), after.Status, after.WorkerID, after.Generation)
	return errors.Join(err, expect("a new generation", after.Generation == before.Generation+1))
}

func (t *journey) sendAgain(ctx context.Context) error {
	t.title("Her program notices nothing and sends again.")
	return t.sendText(ctx, "Still here")
}

func (t *journey) history(ctx context.Context) error {
	t.title("Both messages are in the history.")
	var got struct {
		Messages []struct{ Status, To, Content string }
	}
	err := t.call(ctx, "GET", "/sessions/"+t.session+"/messages", t.token, nil, &got)
	for _, m := range got.Messages {
		t.say("   %-9s %s  %q", m.Status, m.To, m.Content)
	}
	return errors.Join(err, expect("two messages", len(got.Messages) == 2))
}

// expect returns an error unless ok is true.
func expect(what string, ok bool) error {
	if !ok {
		return errors.New("expected " + what)
	}
	return nil
}

type status struct {
	Status, WorkerID, PhoneNumber string
	Generation                    int64
}

// until polls the session's status until wanted returns true.
func (t *journey) until(ctx context.Context, wanted func(status) bool) (s status, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	for {
		if err := t.call(ctx, "GET", "/sessions/"+t.session+"/status", t.token, nil, &s); err != nil {
			return s, err
		}
		if wanted(s) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("the session stays %s on %s", s.Status, s.WorkerID)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// call makes a request and decodes the data of its response.
func (t *journey) call(ctx context.Context, method, path, credential string, body, data any) error {
	b, err := t.request(ctx, method, path, credential, body)
	if err != nil {
		return err
	}
	var answer struct {
		Success bool
		Data    any
		Error   struct{ Code, Message string }
	}
	answer.Data = data
	if err := json.Unmarshal(b, &answer); err != nil {
		return err
	}
	if !answer.Success {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Error.Code, answer.Error.Message)
	}
	return nil
}

// text returns the body of a response as text.
func (t *journey) text(ctx context.Context, path string) (string, error) {
	b, err := t.request(ctx, "GET", path, t.token, nil)
	return string(b), err
}

// request makes a request of the API and returns the body of its response.
func (t *journey) request(ctx context.Context, method, path, credential string, body any) ([]byte, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, t.url+"/api/v1"+path, in)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := t.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}
