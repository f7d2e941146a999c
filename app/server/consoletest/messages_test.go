package consoletest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/console/chromiumtest"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/server"
	"github.com/switchyard-wa/switchyard/domain"
)

// connected returns a fleet whose user has the connected session "support", and a page on it.
func connected(t *testing.T, change ...func(*server.Config)) (*fleet, *simworker.Worker, *chromiumtest.Page) {
	t.Helper()
	f := newFleet(t, change...)
	w := f.worker(simworker.Config{ID: "worker-1", ScanAfter: time.Millisecond})
	f.connect(f.user("ada@example.com", domain.TierPro), "support", "Support line")
	p := chromiumtest.Open(t, f.URL())
	signIn(p, "ada@example.com")
	return f, w, p
}

func TestConsole_SentText_TurnsToRead(t *testing.T) {
	_, _, p := connected(t)
	p.Go("/sessions/support/send")
	p.Fill("To", "+62 812 3456 7890")
	p.Fill("Message", "Your code is 123456.")
	p.Click("Send message")
	p.See(`[data-sent][data-status="READ"]`)

	p.Click("See the conversation")
	p.SeeText("Your code is 123456.")
	p.See(`[data-message][data-status="READ"]`)
}

func TestConsole_ReceivedMessage_AppearsByItself(t *testing.T) {
	_, w, p := connected(t)
	p.Go("/sessions/support")
	p.SeeText("No message yet")
	require.NoError(t, w.Receive(t.Context(), "support", "6289999999999@s.whatsapp.net", "Where is my order?"))
	p.SeeText("Where is my order?")
	require.NoError(t, w.Receive(t.Context(), "support", "6287777777777@s.whatsapp.net", "Thank you"))
	p.SeeText("Thank you")

	p.Fill("Search messages", "order")
	p.Wait("one message", `document.querySelectorAll("[data-message]").length === 1`)
	p.SeeText("Where is my order?")
}

// A message for later waits in a list, where it is moved and cancelled.
func TestConsole_ScheduledMessage_IsMovedAndCancelled(t *testing.T) {
	_, _, p := connected(t)
	p.Go("/sessions/support/send")
	p.SeeText("Nothing waits")
	p.Fill("To", "6281234567890")
	p.Fill("Message", "Happy birthday!")
	p.Click("Options")
	p.Click("At a time")
	p.Click("Schedule")
	p.See("[data-scheduled]")
	p.SeeText("Happy birthday!")
	p.Click("Another time")
	p.See("dialog[open]")
	p.Click("Save")
	p.Wait("the dialog is closed", `!document.querySelector("dialog[open]")`)
	p.Click("Cancel the message")
	p.Click("Do not send it")
	p.SeeText("Nothing waits")
}

// A message for a session that is down goes as soon as it is connected.
func TestConsole_QueuedMessage_IsSentOnceConnected(t *testing.T) {
	_, _, p := connected(t)
	p.Go("/sessions/support/send")
	p.Click("Disconnect")
	p.See(`[data-state="DISCONNECTED"]`)
	p.Fill("To", "6281234567890")
	p.Fill("Message", "As soon as you can")
	p.Click("Options")
	p.Click("As soon as connected")
	p.Click("Queue")
	p.See("[data-scheduled]")
	p.Click("Connect")
	p.See(`[data-sent][data-status="READ"]`)
	p.SeeText("Nothing waits")
}

func TestConsole_DroppedFile_IsSent(t *testing.T) {
	_, w, p := connected(t)
	path := filepath.Join(t.TempDir(), "invoice.txt")
	require.NoError(t, os.WriteFile(path, []byte("two hundred"), 0o600))
	p.Go("/sessions/support/send")
	p.Fill("To", "6281234567890")
	p.Click("File")
	p.Upload(path)
	p.SeeText("invoice.txt")
	p.Fill("Caption", "As promised")
	p.Click("Send message")
	p.See(`[data-sent][data-status="READ"]`)
	journal, err := w.State().Journal()
	require.NoError(t, err)
	sent := 0
	for _, e := range journal {
		if e.Event == simworker.SentOut {
			sent++
		}
	}
	require.Equal(t, 1, sent)
}

// An error of the API stands beside the field that caused it.
func TestConsole_InvalidSend_ShowsTheProblemAtItsField(t *testing.T) {
	_, _, p := connected(t)
	p.Expect("400")
	p.Go("/sessions/support/send")
	p.Fill("To", "not a number")
	p.Fill("Message", "hello")
	p.Click("Send message")
	p.See(`input[name=to][aria-invalid=true]`)
	require.Contains(t, p.Text(".field.invalid .problem"), "international format")
	require.Equal(t, "hello", chromiumtest.Read[string](p, `document.querySelector("textarea[name=message]").value`), "what was typed stays")
}

func TestConsole_WebhookFailsAndDies_IsRedelivered(t *testing.T) {
	var healthy atomic.Bool
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !healthy.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer receiver.Close()
	_, w, p := connected(t, func(c *server.Config) { c.Webhooks.Retry = []time.Duration{10 * time.Millisecond} })
	p.Go("/sessions/support/webhooks")
	p.Click("New webhook")
	p.Fill("URL", receiver.URL+"/hooks")
	p.Click("Create")
	require.Regexp(t, "^whsec_.{20,}", p.Text("[data-secret=webhook-secret]"))
	p.Click("Done")

	require.NoError(t, w.Receive(t.Context(), "support", "6289999999999@s.whatsapp.net", "hello"))
	p.See(`[data-delivery="DEAD"]`)
	p.SeeText("The receiver answered 503")
	p.Click("message.received")
	require.Contains(t, p.Text("[data-payload]"), `"content": "hello"`)
	p.Click("Close")
	p.Click("Send a ping")
	p.See(`[data-ping="failed"]`)

	healthy.Store(true)
	p.Click("Send again")
	p.See(`[data-delivery="DELIVERED"]`)
	p.Click("Send a ping")
	p.See(`[data-ping="delivered"]`)
}

func TestConsole_StreamIsCut_SaysSoAndResumes(t *testing.T) {
	_, w, p := connected(t)
	p.Expect("ERR_INTERNET_DISCONNECTED")
	p.Expect("ERR_NETWORK")
	p.Go("/sessions/support")
	p.SeeText("No message yet")
	p.Offline(true)
	p.SeeText("Not live. What you see is")
	require.NoError(t, w.Receive(t.Context(), "support", "6289999999999@s.whatsapp.net", "While you were away"))
	p.Offline(false)
	p.SeeText("While you were away")
	p.Wait("live", `!document.body.innerText.includes("Not live")`)
}
