package orchestrator_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/app/server"
)

// A program mounts the HTTP API on its own mux, beside its own routes.
func Example_httpAPI() {
	ctx, stop := context.WithCancel(context.Background())
	const token = "a fleet token of at least 32 bytes, kept"
	store, err := backend.Open(ctx, "memory:")
	check(err)
	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: store.Workers(token)})
	check(err)
	api, err := server.NewHandler(ctx, o, store, server.HandlerConfig{WorkerToken: token, Log: slog.New(slog.DiscardHandler)})
	check(err)
	ended := make(chan error, 2)
	go func() { ended <- o.Run(ctx) }()
	go func() { ended <- api.Run(ctx) }()

	mux := http.NewServeMux()
	mux.Handle("/api/", api)
	mux.Handle("/health", api)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "my own page") })

	web := httptest.NewServer(mux) // http.ListenAndServe(":8000", mux) in a real program
	for _, path := range []string{"/", "/health", "/api/v1/sessions"} {
		answer, err := http.Get(web.URL + path)
		check(err)
		_, _ = io.Copy(io.Discard, answer.Body)
		check(answer.Body.Close())
		fmt.Println(path, answer.Status)
	}

	web.Close()
	stop()
	fmt.Println(<-ended, "/", <-ended)
	check(store.Close())
	// Output:
	// / 200 OK
	// /health 200 OK
	// /api/v1/sessions 401 Unauthorized
	// context canceled / context canceled
}
