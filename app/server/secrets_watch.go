package server

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/secretfile"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/ports"
)

// secretsCheckInterval is the time between two looks at the secrets file.
const secretsCheckInterval = 10 * time.Second

// checkSecretsPresence returns an error while the secrets file lacks a secret that this server
// took from it, or cannot be used. The server goes on with the secrets in its memory. The next
// start would make new ones.
func (s *Server) checkSecretsPresence() error {
	if s.cfg.SecretsFile == "" || s.cfg.JWTSecret != "" && s.cfg.WorkerToken != "" {
		return nil
	}
	entries, err := secretfile.New(s.cfg.SecretsFile).Read()
	if err != nil {
		return &ports.UnavailableError{Reason: "the secrets file cannot be used; restore it before a restart", Cause: err}
	}
	for _, k := range []secret{jwtSecret(s.cfg.JWTSecret), workerToken(s.cfg.WorkerToken)} {
		if k.given == "" && entries[k.name] == "" {
			return &ports.UnavailableError{Reason: "the secrets file is gone or lacks secrets in use; restore it before a restart"}
		}
	}
	return nil
}

// watchSecrets logs once when the secrets file goes, and once when it is back, until ctx ends.
func (s *Server) watchSecrets(ctx context.Context) error {
	ticker := time.NewTicker(secretsCheckInterval)
	defer ticker.Stop()
	isMissing := false
	for {
		err := s.checkSecretsPresence()
		switch {
		case err != nil && !isMissing:
			s.cfg.Log.WarnContext(ctx, "secrets file missing", "file", s.cfg.SecretsFile, "error", err, "fix", "restore the file from a backup")
		case err == nil && isMissing:
			s.cfg.Log.InfoContext(ctx, "secrets file back", "file", s.cfg.SecretsFile)
		}
		isMissing = err != nil
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// checkHealth checks the store and the fabric. It adds the secrets file while that is missing.
// The server is ready without the file.
func (s *Server) checkHealth(ctx context.Context) []backend.Part {
	parts := s.backend.Health(ctx)
	began := time.Now()
	if err := s.checkSecretsPresence(); err != nil {
		parts = append(parts, backend.Part{Name: "secrets", Took: time.Since(began), Err: err, Optional: true})
	}
	return parts
}
