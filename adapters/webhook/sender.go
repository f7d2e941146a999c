package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	defaultTimeout = 10 * time.Second
	dialTimeout    = 5 * time.Second
	bodyTimeout    = time.Second // after the headers
	maxBody        = 4 << 10
	maxHeader      = 16 << 10
	maxShown       = 256 // bytes of a body that people see

	maxIdle        = 256
	maxIdlePerHost = 4
	idleLife       = 30 * time.Second
)

// Config configures a [Sender]. The zero value works, and calls any address.
type Config struct {
	// Dial connects to host:port. It refuses addresses with an error that wraps [ErrNotAllowed]. Nil: any
	// address is called.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// UserAgent names the program. Empty: Switchyard-Webhook.
	UserAgent string
	// Transport changes the transport before its first use, for certificates of one's own.
	Transport func(t *http.Transport)
}

// Sender implements [ports.WebhookSender]. Make one with [New]. It is safe for concurrent use.
type Sender struct {
	client    *http.Client
	userAgent string
}

var _ ports.WebhookSender = (*Sender)(nil)

// New returns a sender.
func New(c Config) *Sender {
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	t := &http.Transport{
		DialContext: dialFunc(c.Dial).punctual, TLSHandshakeTimeout: dialTimeout, DisableCompression: true,
		MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdlePerHost, IdleConnTimeout: idleLife,
		MaxResponseHeaderBytes: maxHeader,
	}
	if c.Transport != nil {
		c.Transport(t)
	}
	return &Sender{
		client: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		userAgent: cmp.Or(c.UserAgent, "Switchyard-Webhook"),
	}
}

// Close closes connections that are not in use.
func (s *Sender) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Post implements [ports.WebhookSender].
func (s *Sender) Post(ctx context.Context, c ports.WebhookCall) (ports.WebhookAnswer, error) {
	timeout := cmp.Or(c.Timeout, defaultTimeout)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := s.request(withNotAfter(limited, c.NotAfter), c)
	if err != nil {
		return ports.WebhookAnswer{}, err
	}
	began := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return ports.WebhookAnswer{}, ctx.Err()
		}
		return ports.WebhookAnswer{}, failure(err)
	}
	answer := ports.WebhookAnswer{Code: response.StatusCode, Latency: time.Since(began)}
	defer time.AfterFunc(bodyTimeout, cancel).Stop()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody)) // what has arrived will do
	_ = response.Body.Close()
	answer.Body = shown(body)
	return answer, nil
}

// request returns the signed request.
func (s *Sender) request(ctx context.Context, c ports.WebhookCall) (*http.Request, error) {
	body, err := json.Marshal(view.Event(c.Event))
	if err != nil {
		return nil, &ports.WebhookError{Message: "The event cannot be written as JSON", Err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, &ports.WebhookError{Message: "The URL is not valid", Err: errors.New("not parsed")} // err has the URL
	}
	timestamp := strconv.FormatInt(c.At.Unix(), 10)
	h := request.Header
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", s.userAgent)
	h.Set("Webhook-Id", c.ID)
	h.Set("Webhook-Timestamp", timestamp)
	h.Set("Webhook-Signature", signatures(c.Keys, c.ID, timestamp, body))
	return request, nil
}

// signatures returns the signature by each key.
func signatures(keys [][]byte, id, timestamp string, body []byte) string {
	all := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		for _, part := range [][]byte{[]byte(id), []byte("."), []byte(timestamp), []byte("."), body} {
			mac.Write(part)
		}
		all[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(all, " ")
}

// shown returns the beginning of a body as one line of text that is safe to show.
func shown(body []byte) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(body), "\uFFFD"))
	return domain.StorableText(strings.Join(strings.Fields(text), " "), maxShown)
}
