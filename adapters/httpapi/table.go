package httpapi

import (
	"context"
	"net/http"

	"github.com/go-kit/kit/endpoint"
	kithttp "github.com/go-kit/kit/transport/http"

	"github.com/switchyard-wa/switchyard/domain"
)

// A route is one line of the API: what is asked for, by whom, how often, and
// what answers.
type route struct {
	method  string
	path    string // below the base paths, with {variables}
	auth    credential
	limit   limit
	do      handler
	message string // of a success
	status  int    // of a success; 0 is 200
	media   bool   // takes base64 media, so bodies may be larger
	quiet   bool   // comes so often that the access log has it only at debug level
	outside bool   // not below the base paths
}

// A handler decodes a call, uses one use case, and returns the data of the
// answer.
type handler func(a *api, ctx context.Context, c *call) (any, error)

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)

// table is the whole API. Its order does not matter.
var table = []route{
	// Signing in.
	{method: post, path: "/auth/register", auth: nobody, limit: perIP, do: (*api).register, status: http.StatusCreated, message: "Account created"},
	{method: post, path: "/auth/login", auth: nobody, limit: perIP, do: (*api).login, message: "Signed in"},
	{method: post, path: "/auth/refresh", auth: nobody, limit: perIP, do: (*api).refresh, message: "Token refreshed"},
	{method: post, path: "/auth/forgot-password", auth: nobody, limit: perIP, do: (*api).forgotPassword, message: "If the address has an account, a mail with the next step is on its way"},
	{method: post, path: "/auth/reset-password", auth: nobody, limit: perIP, do: (*api).resetPassword, message: "Password set; sign in with it"},
	{method: post, path: "/auth/logout", auth: user, limit: perUser, do: (*api).logout, message: "Signed out"},
	{method: get, path: "/auth/me", auth: user, limit: perUser, do: (*api).me, message: "Account"},
	{method: post, path: "/auth/change-password", auth: user, limit: perUser, do: (*api).changePassword, message: "Password changed; sign in with the new one"},
	{method: post, path: "/auth/deactivate", auth: user, limit: perUser, do: (*api).deactivate, message: "Account deactivated"},

	// The account.
	{method: post, path: "/users/deactivate", auth: user, limit: perUser, do: (*api).deactivate, message: "Account deactivated"},
	{method: get, path: "/users/profile", auth: user, limit: perUser, do: (*api).profile, message: "Profile"},
	{method: put, path: "/users/profile", auth: user, limit: perUser, do: (*api).updateProfile, message: "Profile updated"},
	{method: get, path: "/users/api-keys", auth: user, limit: perUser, do: (*api).apiKeys, message: "API keys"},
	{method: del, path: "/users/api-keys/{id}", auth: user, limit: perUser, do: (*api).revokeKey, message: "API key revoked"},
	{method: get, path: "/users/usage", auth: user, limit: perUser, do: (*api).usage, message: "Usage"},
	{method: get, path: "/users/tier", auth: user, limit: perUser, do: (*api).tier, message: "Tier"},
	{method: get, path: "/users/sessions", auth: user, limit: perUser, do: (*api).sessions, message: "Sessions"},

	// Sessions.
	{method: post, path: "/sessions", auth: user, limit: perUser, do: (*api).createSession, status: http.StatusCreated, message: "Session created; keep the API key, it is not shown again"},
	{method: get, path: "/sessions", auth: user, limit: perUser, do: (*api).sessions, message: "Sessions"},
	{method: get, path: "/sessions/{id}", auth: user, limit: perUser, do: (*api).session, message: "Session"},
	{method: del, path: "/sessions/{id}", auth: user, limit: perUser, do: (*api).deleteSession, message: "Session deleted"},
	{method: post, path: "/sessions/{id}/connect", auth: user, limit: perUser, do: (*api).connect, message: "Connecting; scan the QR code with the phone"},
	{method: get, path: "/sessions/{id}/qr", auth: user, limit: perUser, do: (*api).qr, message: "Scan the QR code with the phone"},
	{method: get, path: "/sessions/{id}/status", auth: keyOrUser, limit: perKey, do: (*api).sessionStatus, message: "Session status"},
	{method: post, path: "/sessions/{id}/disconnect", auth: user, limit: perUser, do: (*api).disconnect, message: "Session disconnected"},
	{method: post, path: "/sessions/{id}/logout", auth: user, limit: perUser, do: (*api).logoutSession, message: "Session logged out"},
	{method: post, path: "/sessions/{id}/restart", auth: user, limit: perUser, do: (*api).restart, message: "Session restarting"},
	{method: post, path: "/sessions/{id}/api-key/rotate", auth: user, limit: perUser, do: (*api).rotateKey, message: "API key rotated; keep the new one, it is not shown again"},
	{method: get, path: "/sessions/{id}/messages", auth: user, limit: perUser, do: (*api).history, message: "Messages"},
	{method: get, path: "/sessions/{id}/messages/{messageId}", auth: user, limit: perUser, do: (*api).messageByID, message: "Message"},
	{method: post, path: "/sessions/{id}/send", auth: keyOrUser, limit: perKey, do: send(decodeMessage, genericNames), message: sentMessage},

	// Messages, by API key.
	{method: post, path: "/sendText", auth: apiKey, limit: perKey, do: send(decodeText, nil), message: sentMessage},
	{method: post, path: "/sendImage", auth: apiKey, limit: perKey, do: sendMedia(domain.TypeImage, "imageUrl"), media: true, message: sentMessage},
	{method: post, path: "/sendFile", auth: apiKey, limit: perKey, do: sendMedia(domain.TypeDocument, "fileUrl"), media: true, message: sentMessage},
	{method: post, path: "/sendVoice", auth: apiKey, limit: perKey, do: sendMedia(domain.TypeAudio, "audioUrl"), media: true, message: sentMessage},
	{method: post, path: "/sendVideo", auth: apiKey, limit: perKey, do: sendMedia(domain.TypeVideo, "videoUrl"), media: true, message: sentMessage},
	{method: post, path: "/sendSticker", auth: apiKey, limit: perKey, do: sendMedia(domain.TypeSticker, "stickerUrl"), media: true, message: sentMessage},
	{method: post, path: "/sendLocation", auth: apiKey, limit: perKey, do: send(decodeLocation, nil), message: sentMessage},
	{method: post, path: "/sendContactVcard", auth: apiKey, limit: perKey, do: send(decodeContact, nil), message: sentMessage},
	{method: post, path: "/sendLink", auth: apiKey, limit: perKey, do: send(decodeLink, nil), message: sentMessage},
	{method: post, path: "/sendPoll", auth: apiKey, limit: perKey, do: send(decodePoll, nil), message: sentMessage},
	{method: post, path: "/sendSeen", auth: apiKey, limit: perKey, do: act(domain.ActionSeen), message: "Marked as seen"},
	{method: post, path: "/startTyping", auth: apiKey, limit: perKey, do: act(domain.ActionTypingStart), message: "Typing"},
	{method: post, path: "/stopTyping", auth: apiKey, limit: perKey, do: act(domain.ActionTypingStop), message: "Typing stopped"},
	{method: get, path: "/session/status", auth: apiKey, limit: perKey, do: (*api).sessionStatus, message: "Session status"},
	{method: post, path: "/message/{messageId}/delete", auth: apiKey, limit: perKey, do: act(domain.ActionDelete), message: "Message deleted"},
	{method: post, path: "/message/{messageId}/unsend", auth: apiKey, limit: perKey, do: act(domain.ActionUnsend), message: "Message unsent"},
	{method: post, path: "/message/{messageId}/edit", auth: apiKey, limit: perKey, do: act(domain.ActionEdit), message: "Message edited"},
	{method: post, path: "/message/{messageId}/reaction", auth: apiKey, limit: perKey, do: act(domain.ActionReaction), message: "Reaction set"},
	{method: post, path: "/message/{messageId}/read", auth: apiKey, limit: perKey, do: act(domain.ActionRead), message: "Message read"},
	{method: post, path: "/message/{messageId}/star", auth: apiKey, limit: perKey, do: act(domain.ActionStar), message: "Message starred"},
	{method: post, path: "/message/{messageId}/unstar", auth: apiKey, limit: perKey, do: act(domain.ActionUnstar), message: "Message unstarred"},

	// The fleet, by an administrator.
	{method: get, path: "/workers", auth: admin, limit: perUser, do: (*api).workers, message: "Workers"},
	{method: post, path: "/workers", auth: admin, limit: perUser, do: (*api).addWorker, status: http.StatusCreated, message: "Worker added"},
	{method: get, path: "/workers/statistics", auth: admin, limit: perUser, do: (*api).statistics, message: "Fleet statistics"},
	{method: get, path: "/workers/available", auth: admin, limit: perUser, do: (*api).available, message: "Where the next session would go"},
	{method: post, path: "/workers/test", auth: admin, limit: perUser, do: (*api).testEndpoint, message: "Endpoint tested"},
	{method: post, path: "/workers/health-check", auth: admin, limit: perUser, do: (*api).probeAll, message: "Workers probed"},
	{method: post, path: "/workers/health/start", auth: admin, limit: perUser, do: (*api).startMonitor, message: "Health monitor started"},
	{method: post, path: "/workers/health/stop", auth: admin, limit: perUser, do: (*api).stopMonitor, message: "Health monitor stopped"},
	{method: get, path: "/workers/health/status", auth: admin, limit: perUser, do: (*api).monitor, message: "Health monitor"},
	{method: get, path: "/workers/{workerId}", auth: admin, limit: perUser, do: (*api).worker, message: "Worker"},
	{method: put, path: "/workers/{workerId}", auth: admin, limit: perUser, do: (*api).updateWorker, message: "Worker updated"},
	{method: del, path: "/workers/{workerId}", auth: adminWorker, limit: perUser, do: (*api).removeWorker, message: "Worker removed"},
	{method: get, path: "/workers/{workerId}/metrics", auth: admin, limit: perUser, do: (*api).workerLoad, message: "Worker load"},
	{method: post, path: "/workers/{workerId}/test", auth: admin, limit: perUser, do: (*api).testWorker, message: "Worker tested"},
	{method: post, path: "/workers/{workerId}/drain", auth: admin, limit: perUser, do: (*api).drain, message: "Worker is draining; its sessions move to others"},
	{method: post, path: "/workers/{workerId}/activate", auth: admin, limit: perUser, do: (*api).activate, message: "Worker activated"},

	// What workers call.
	{method: post, path: "/workers/register", auth: worker, do: (*api).registerWorker, status: http.StatusCreated, message: "Worker registered"},
	{method: put, path: "/workers/{workerId}/heartbeat", auth: worker, do: (*api).heartbeat, quiet: true, message: "Heartbeat accepted"},
	{method: get, path: "/workers/{workerId}/sessions/assigned", auth: worker, do: (*api).assigned, message: "Assigned sessions"},
	{method: post, path: "/workers/{workerId}/sessions/recovery-status", auth: worker, do: (*api).recovered, message: "Recovery status processed"},
	{method: post, path: "/workers/{workerId}/sessions-preserved", auth: worker, do: (*api).preserved, message: "Preserved sessions recorded"},
	{method: del, path: "/workers/unregister", auth: worker, do: (*api).unregister, message: "Worker unregistered"},
	{method: post, path: "/webhooks/session-status", auth: worker, do: (*api).sessionReport, message: "Session status received"},
	{method: post, path: "/webhooks/message-status", auth: worker, do: (*api).messageReport, message: "Message status received"},
	{method: post, path: "/webhooks/message-received", auth: worker, do: (*api).messageReceived, message: "Message received"},
	{method: post, path: "/webhooks/worker-heartbeat", auth: worker, do: (*api).oldHeartbeat, quiet: true, message: "Heartbeat accepted"},

	// Administration.
	{method: get, path: "/admin/users", auth: admin, limit: perUser, do: (*api).users, message: "Users"},
	{method: get, path: "/admin/users/{id}", auth: admin, limit: perUser, do: (*api).user, message: "User"},
	{method: put, path: "/admin/users/{id}", auth: admin, limit: perUser, do: (*api).updateUser, message: "User updated"},
	{method: get, path: "/admin/sessions", auth: admin, limit: perUser, do: (*api).allSessions, message: "Sessions"},
	{method: post, path: "/admin/sessions/bulk", auth: admin, limit: perUser, do: (*api).bulkSessions, message: "Sessions"},
	{method: del, path: "/admin/sessions/{id}", auth: admin, limit: perUser, do: (*api).removeSession, message: "Session deleted"},
	{method: post, path: "/admin/sessions/{id}/migrate", auth: admin, limit: perUser, do: (*api).migrate, message: "Session migrated"},
	{method: get, path: "/admin/migrations", auth: admin, limit: perUser, do: (*api).migrations, message: "Migrations"},
	{method: post, path: "/admin/migrations/{id}/cancel", auth: admin, limit: perUser, do: (*api).cancelMigrations, message: "Migrations cancelled"},
	{method: post, path: "/admin/rebalance", auth: admin, limit: perUser, do: (*api).rebalance, message: "Rebalance"},

	// Health, outside the base paths.
	{method: get, path: "/health", auth: nobody, do: (*api).health, quiet: true, outside: true, message: "The server is up"},
	{method: get, path: "/health/detailed", auth: nobody, do: (*api).healthDetailed, quiet: true, outside: true, message: "What the server depends on"},
	{method: get, path: "/livez", auth: nobody, do: (*api).livez, quiet: true, outside: true, message: "Alive"},
	{method: get, path: "/readyz", auth: nobody, do: (*api).readyz, quiet: true, outside: true, message: "Ready"},
}

const sentMessage = "Message sent"

// mount makes the go-kit server of a route.
func (a *api) mount(r *route, l *limits) mounted {
	e := endpoint.Chain(a.authenticate(r.auth), l.of(r.limit))(
		func(ctx context.Context, request any) (any, error) { return r.do(a, ctx, request.(*call)) })
	return mounted{r, kithttp.NewServer(e, decodeCall, encodeAnswer, kithttp.ServerErrorEncoder(encodeError))}
}

// decodeCall is go-kit's request decoder. The body is left to the handler: who
// may not call is told so before it is read.
func decodeCall(ctx context.Context, _ *http.Request) (any, error) { return callOf(ctx), nil }
