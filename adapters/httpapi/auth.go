package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-kit/kit/endpoint"

	"github.com/switchyard-wa/switchyard/domain"
)

// A credential is what a route asks its callers for.
type credential uint8

const (
	public      credential = iota // no credential
	user                          // an access token
	admin                         // an administrator's access token
	apiKey                        // an API key
	keyOrUser                     // an API key, or an access token; the path names the session
	worker                        // a worker's token
	adminWorker                   // an administrator's access token, or a worker's token
	adminLocal                    // an administrator's access token, or none on this machine
)

// String names the credential in listings.
func (k credential) String() string {
	return [...]string{"public", "user", "admin", "key", "key or user", "worker", "admin or worker", "admin or local"}[k]
}

// The security schemes of the document.
const (
	schemeUser   = "accessToken"
	schemeAPIKey = "apiKey"
	schemeWorker = "workerToken"
)

// security names the schemes that a credential accepts, for the document.
func (k credential) security() []map[string][]string {
	var list []map[string][]string
	for _, name := range map[credential][]string{
		user: {schemeUser}, admin: {schemeUser}, apiKey: {schemeAPIKey}, keyOrUser: {schemeAPIKey, schemeUser},
		worker: {schemeWorker}, adminWorker: {schemeUser, schemeWorker},
		adminLocal: {schemeUser},
	}[k] {
		list = append(list, map[string][]string{name: {}})
	}
	return list
}

// codes returns the errors that checking the credential can end in.
func (k credential) codes() []domain.Code {
	token := []domain.Code{domain.CodeAuthTokenMissing, domain.CodeAuthTokenInvalid, domain.CodeAuthTokenExpired, domain.CodeAccountDeactivated}
	key := []domain.Code{domain.CodeAPIKeyInvalid, domain.CodeAPIKeyExpired, domain.CodeAccountDeactivated, domain.CodeAPILimit}
	switch k {
	case user:
		return token
	case admin, adminWorker, adminLocal:
		return append(token, domain.CodeInsufficientPermission)
	case apiKey:
		return append(key, domain.CodeAPIKeyMissing)
	case keyOrUser:
		return append(token, append(key, domain.CodeSessionNotFound)...)
	case worker:
		return []domain.Code{domain.CodeAuthTokenMissing, domain.CodeAuthTokenInvalid, domain.CodeInsufficientPermission}
	}
	return nil
}

// authenticate returns the endpoint middleware that identifies the caller. It runs
// before the body is read. Each route refuses the credentials of the others.
func (a *api) authenticate(kind credential) endpoint.Middleware {
	check := map[credential]func(context.Context, *requestContext, string) error{
		user:        a.byUser,
		admin:       a.byAdmin,
		apiKey:      a.byKey,
		keyOrUser:   a.byKeyOrUser,
		worker:      a.byWorker,
		adminWorker: a.byAdminOrWorker,
		adminLocal:  a.byAdmin,
	}[kind]
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		if check == nil {
			return next
		}
		return func(ctx context.Context, request any) (any, error) {
			c := request.(*requestContext)
			token := bearerToken(c.r)
			if token == "" {
				if kind == adminLocal && c.isLocal() {
					return next(ctx, request)
				}
				return nil, missingCredential(kind)
			}
			if err := check(ctx, c, token); err != nil {
				return nil, err
			}
			markAuthenticated(c.r.Context())
			return next(ctx, request)
		}
	}
}

// isLocal reports whether the request comes straight from a process on this machine.
// These signs speak against it:
//
//   - a forwarding header, which a proxy adds
//   - HTTP/1.0, which nginx uses by default, without a header
//   - the name of another host, which a page in a browser on this machine was loaded from
func (c *requestContext) isLocal() bool {
	if !c.peer().IsLoopback() || !c.r.ProtoAtLeast(1, 1) {
		return false
	}
	for name := range c.r.Header {
		if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return false
		}
	}
	host := (&url.URL{Host: c.r.Host}).Hostname()
	return strings.EqualFold(host, "localhost") || domain.ParseClientIP(host).IsLoopback()
}

// bearerToken returns the credential of a request, or "".
func bearerToken(r *http.Request) string {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return ""
	}
	const scheme = "Bearer "
	v := values[0]
	if len(v) <= len(scheme) || !strings.EqualFold(v[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(v[len(scheme):])
}

func missingCredential(kind credential) error {
	if kind == apiKey {
		return domain.Errorf(domain.Unauthenticated, domain.CodeAPIKeyMissing,
			"Send the session's API key as Authorization: Bearer wg_…")
	}
	return domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenMissing, "%s",
		map[credential]string{
			worker:      "Send the worker token as Authorization: Bearer …",
			adminWorker: "Send an administrator's access token or the worker token as Authorization: Bearer …",
			keyOrUser:   "Send the session's API key, or an access token, as Authorization: Bearer …",
			user:        signInFirst, admin: signInFirst,
			adminLocal: "Sign in as an administrator and send the access token, or ask on the machine of the server itself",
		}[kind])
}

const signInFirst = "Sign in and send the access token as Authorization: Bearer …"

func isAPIKey(token string) bool { return strings.HasPrefix(token, domain.APIKeyPrefix) }

func (a *api) byUser(ctx context.Context, c *requestContext, token string) error {
	if isAPIKey(token) {
		return domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid,
			"An API key is not accepted here; sign in and use the access token")
	}
	principal, err := a.Accounts.Authenticate(ctx, token)
	if err != nil {
		return err
	}
	c.principal = principal
	return nil
}

func (a *api) byAdmin(ctx context.Context, c *requestContext, token string) error {
	if err := a.byUser(ctx, c, token); err != nil {
		return err
	}
	if !c.isAdmin() {
		return domain.Errorf(domain.Forbidden, domain.CodeInsufficientPermission,
			"This needs an administrator; ask one to do it or to change your role")
	}
	return nil
}

func (a *api) byKey(ctx context.Context, c *requestContext, token string) error {
	if !isAPIKey(token) {
		return domain.Errorf(domain.Unauthenticated, domain.CodeAPIKeyInvalid,
			"Only an API key is accepted here; use the key shown when the session was created or rotate it")
	}
	holder, usage, err := a.APIKeys.Authenticate(ctx, token)
	c.showUsage(usage)
	if err != nil {
		return err
	}
	c.key = holder
	return nil
}

func (a *api) byKeyOrUser(ctx context.Context, c *requestContext, token string) error {
	if !isAPIKey(token) {
		return a.byUser(ctx, c, token)
	}
	if err := a.byKey(ctx, c, token); err != nil {
		return err
	}
	if c.key.SessionID != c.sessionRef() {
		return domain.Errorf(domain.NotFound, domain.CodeSessionNotFound,
			"Session not found; an API key is good for its own session only")
	}
	return nil
}

func (a *api) byWorker(ctx context.Context, c *requestContext, token string) error {
	holder, ok := a.WorkerTokens.Identify(token)
	if !ok {
		return domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid,
			"Worker token is not valid; use the one from the server's configuration, or register again for one of your own")
	}
	if !holder.IsFleet() {
		if err := a.Access.Authorize(ctx, holder, holder.WorkerID); err != nil {
			return err
		}
	}
	c.holder, c.worker = holder, true
	_, err := c.authorizeWorker(c.workerRef())
	return err
}

func (a *api) byAdminOrWorker(ctx context.Context, c *requestContext, token string) error {
	if _, ok := a.WorkerTokens.Identify(token); ok {
		return a.byWorker(ctx, c, token)
	}
	return a.byAdmin(ctx, c, token)
}

// authorizeWorker returns the id of the worker that makes the request. It is the id that
// the request names, or the id of the token; empty if neither names a worker. A
// worker with a token of its own cannot act for another worker, and the fleet token
// does not act for a worker with a token of its own.
func (c *requestContext) authorizeWorker(workerID string) (string, error) {
	if !c.holder.IsFleet() || workerID == "" || workerID == c.authorizedWorker {
		return c.checkOwnToken(workerID)
	}
	if err := c.api.Access.Authorize(c.Context, c.holder, workerID); err != nil {
		return "", err
	}
	c.authorizedWorker = workerID
	return workerID, nil
}

// checkOwnToken is authorizeWorker without the check of the fleet token. A registration
// needs no more, because the fleet token registers every worker.
func (c *requestContext) checkOwnToken(workerID string) (string, error) {
	switch {
	case c.holder.IsFleet() || workerID == c.holder.WorkerID:
		return workerID, nil
	case workerID == "":
		return c.holder.WorkerID, nil
	}
	return "", domain.Errorf(domain.Forbidden, domain.CodeInsufficientPermission,
		"This token is worker %s's own and cannot speak for another; use that worker's token", c.holder.WorkerID)
}

// showUsage sets the headers that tell how much of a limit is left. A limit of 0
// means that there is none.
func (c *requestContext) showUsage(u domain.Usage) {
	if u.Limit <= 0 {
		return
	}
	c.header[1] = strconv.Itoa(u.Limit)
	c.header[2] = strconv.Itoa(u.Remaining)
	c.header[3] = strconv.FormatInt(u.ResetAt.Add(time.Second-1).Unix(), 10)
	h := c.w.Header()
	h["X-Ratelimit-Limit"] = c.header[1:2:2]
	h["X-Ratelimit-Remaining"] = c.header[2:3:3]
	h["X-Ratelimit-Reset"] = c.header[3:4:4]
}
