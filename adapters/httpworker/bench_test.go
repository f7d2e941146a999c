package httpworker_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// instant answers every request with the same bytes. It takes one read for one
// request: the benchmark measures the client alone.
func instant(tb testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ln.Close() })
	body := `{"success":true,"data":{"messageId":"3EB0C767D26A1D8F5C7E","status":"SENT","timestamp":"2026-01-02T03:04:05.678Z"}}`
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 64<<10)
				for {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

var hello = ports.Send{
	SessionID: "support-line-x7k2m9qa", ClientMessageID: "0198c1d2-7b3a-7c4d-8e5f-0123456789ab",
	To:      "6281234567890@s.whatsapp.net",
	Message: &domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "Your order has been shipped and will arrive tomorrow."},
}

func BenchmarkSend(b *testing.B) {
	c := httpworker.New("0123456789abcdef0123456789abcdef")
	defer func() { _ = c.Close() }()
	w := ports.WorkerRef{ID: "w1", Endpoint: instant(b), Capabilities: []domain.Capability{domain.CapDedupe}}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Send(ctx, w, hello); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Send(ctx, w, hello); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkNetHTTP makes the same exchange with the client of the standard
// library, without encoding or decoding. It is the baseline of BenchmarkSend.
func BenchmarkNetHTTP(b *testing.B) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}
	defer client.CloseIdleConnections()
	url := instant(b) + "/api/support-line-x7k2m9qa/send"
	body := `{"to":"6281234567890@s.whatsapp.net","type":"text","message":"Your order has been shipped and will arrive tomorrow."}`
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
}
