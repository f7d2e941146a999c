package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/switchyard-wa/switchyard/app/server"
	"github.com/switchyard-wa/switchyard/domain"
)

// worker runs the command worker.
func worker(ctx context.Context, args []string, out, errOut io.Writer) error {
	c := server.WorkerConfig{Addr: "127.0.0.1:0", ControlPlane: "http://127.0.0.1:8000"}
	c.Capacity = domain.DefaultWorkerCapacity
	var simulated bool
	var scan string
	f := newFlags("worker", "", "Runs a worker that speaks the worker protocol and pretends to be WhatsApp.", out)
	f.bit(&simulated, "simulated", "false", "required: this is the only kind there is here")
	f.text(&c.ID, "id", "ID", "simulated", "its id")
	f.text(&c.Addr, "addr", "HOST:PORT", "127.0.0.1:0", "listen address")
	f.text(&c.Endpoint, "endpoint", "URL", "the listener's", "where it is called, if that is behind a proxy or NAT")
	f.text(&c.ControlPlane, "control-plane", "URL", "http://127.0.0.1:8000", "where to register")
	f.secret(&c.Token, "token", "TOKEN", "or --token-file", "the fleet token, see: switchyard token")
	f.number(&c.Capacity, "max-sessions", "50", "how many sessions it takes")
	f.text(&c.Dir, "state", "DIR", "in memory", "its phones' credentials and its journal; may be shared")
	f.text(&scan, "scan-after", "TIME|never", "2s", "how long until the pretended phone scans a QR")
	f.delay(&c.Latency, "latency", "0s", "added to every answer")
	f.fraction(&c.FailRate, "fail-rate", "0", "share of calls that fail")
	f.bit(&c.Legacy, "legacy", "false", "behave like the older workers, without extensions")
	if err := f.parse(args); err != nil {
		return err
	}
	errs := []error{f.noWords()}
	if !simulated {
		errs = append(errs, errors.New("--simulated is required"))
	}
	if c.ID == "" {
		c.ID = "simulated"
	}
	var problem *domain.Error
	if _, err := domain.NormalizeWorkerID(c.ID); errors.As(err, &problem) {
		errs = append(errs, fmt.Errorf("--id: %s", problem.Message))
	}
	if c.Addr != "" {
		errs = append(errs, server.CheckAddr(c.Addr))
	}
	if c.Token == "" {
		errs = append(errs, errors.New("--token is required; switchyard token prints it"))
	}
	if c.Capacity < 1 || c.Capacity > 1000 {
		errs = append(errs, errors.New("--max-sessions must be between 1 and 1000"))
	}
	errs = append(errs, checkURL("control-plane", c.ControlPlane))
	if c.Endpoint != "" {
		errs = append(errs, checkURL("endpoint", c.Endpoint))
	}
	var err error
	switch scan {
	case "":
	case "never":
		c.ScanAfter = server.NeverScans
	default:
		c.ScanAfter, err = time.ParseDuration(scan)
		if err != nil || c.ScanAfter < 0 {
			errs = append(errs, fmt.Errorf("--scan-after: %q is neither a time such as 2s nor never", scan))
		}
	}
	if err := f.bad(errors.Join(errs...)); err != nil {
		return err
	}
	log, err := newLog(errOut, "", slog.LevelInfo)
	if err != nil {
		return err
	}
	f.warnExposed(log)
	return server.RunWorker(ctx, c, server.Config{Log: log, Out: out})
}

// checkURL returns an error unless the value of a flag is an HTTP URL.
func checkURL(flag, text string) error {
	if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--%s must be an http:// or https:// URL, not %q", flag, text)
	}
	return nil
}
