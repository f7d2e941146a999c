package httpapi

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestHealthDetailed_Caller_HasToBeAdministratorOrLocal(t *testing.T) {
	cfg := config(&stub{})
	cfg.Health = func(context.Context) []Check { return []Check{{Name: "store", OK: true}} }
	h := New(cfg)
	for name, c := range map[string]struct {
		peer, host, token, header string
		old                       bool
		want                      int
		code                      domain.Code
	}{
		"administrator":             {peer: "203.0.113.1:1", host: "example.com", token: adminToken, want: 200},
		"user":                      {peer: "203.0.113.1:1", host: "example.com", token: userToken, want: 403, code: domain.CodeInsufficientPermission},
		"user on this machine":      {peer: "127.0.0.1:1", host: "localhost:8000", token: userToken, want: 403, code: domain.CodeInsufficientPermission},
		"worker":                    {peer: "127.0.0.1:1", host: "localhost:8000", token: fleetToken, want: 401, code: domain.CodeAuthTokenInvalid},
		"stranger":                  {peer: "203.0.113.1:1", host: "localhost:8000", want: 401, code: domain.CodeAuthTokenMissing},
		"this machine":              {peer: "127.0.0.1:1", host: "localhost:8000", want: 200},
		"this machine, IPv6":        {peer: "[::1]:1", host: "[::1]:8000", want: 200},
		"this machine, mapped":      {peer: "[::ffff:127.0.0.1]:1", host: "127.0.0.1:8000", want: 200},
		"proxy":                     {peer: "127.0.0.1:1", host: "localhost", header: "X-Forwarded-For", want: 401, code: domain.CodeAuthTokenMissing},
		"proxy, another header":     {peer: "127.0.0.1:1", host: "localhost", header: "X-Forwarded-Proto", want: 401, code: domain.CodeAuthTokenMissing},
		"proxy, RFC 7239":           {peer: "127.0.0.1:1", host: "localhost", header: "Forwarded", want: 401, code: domain.CodeAuthTokenMissing},
		"proxy, Via":                {peer: "127.0.0.1:1", host: "localhost", header: "Via", want: 401, code: domain.CodeAuthTokenMissing},
		"proxy, X-Real-IP":          {peer: "127.0.0.1:1", host: "localhost", header: "X-Real-IP", want: 401, code: domain.CodeAuthTokenMissing},
		"nginx without headers":     {peer: "127.0.0.1:1", host: "127.0.0.1:8000", old: true, want: 401, code: domain.CodeAuthTokenMissing},
		"proxy that keeps the host": {peer: "127.0.0.1:1", host: "example.com", want: 401, code: domain.CodeAuthTokenMissing},
	} {
		r := request("GET", "/health/detailed", c.token, "")
		r.RemoteAddr, r.Host = c.peer, c.host
		if c.header != "" {
			r.Header.Set(c.header, "203.0.113.9")
		}
		if c.old {
			r.ProtoMajor, r.ProtoMinor = 1, 0
		}
		got := serve(t, h, r)
		assert.Equal(t, c.want, got.Code, name)
		if c.want != 200 {
			assert.Equal(t, c.code, got.Error.Code, name)
		}
	}
}
