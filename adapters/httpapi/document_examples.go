package httpapi

import "github.com/switchyard-wa/switchyard/domain"

// failureMessages has a message of each code, as it is answered.
var failureMessages = map[domain.Code]string{
	domain.CodeValidation:             "Email must be a single address such as name@example.com",
	domain.CodeInvalidPhoneNumber:     "Phone number must be in international format (e.g., 6281234567890)",
	domain.CodeInvalidMessageType:     "Message type must be one of text, image, document, audio, video, sticker, location, contact, link, poll",
	domain.CodeAuthTokenMissing:       signInFirst,
	domain.CodeAuthTokenInvalid:       "The access token is no longer good; refresh it or sign in again",
	domain.CodeAuthTokenExpired:       "The access token has expired; refresh it",
	domain.CodeInvalidCredentials:     "Email or password is wrong",
	domain.CodeAPIKeyMissing:          "Send the session's API key as Authorization: Bearer wg_…",
	domain.CodeAPIKeyInvalid:          "API key is not valid",
	domain.CodeAPIKeyExpired:          "API key has expired; rotate it",
	domain.CodeInsufficientPermission: "This needs an administrator; ask one to do it or to change your role",
	domain.CodeAccountDeactivated:     "This account is deactivated; ask an administrator to activate it",
	domain.CodeRegistrationClosed:     "Registration is closed on this server; ask an administrator for an account",
	domain.CodeNotFound:               "There is no QR code; connect the session to get one",
	domain.CodeUserNotFound:           "User not found",
	domain.CodeSessionNotFound:        "Session not found",
	domain.CodeWorkerNotFound:         "Worker not found; register again",
	domain.CodeMessageNotFound:        "Message not found",
	domain.CodeAPIKeyNotFound:         "There is no such API key",
	domain.CodeWebhookNotFound:        "The session has no such webhook",
	domain.CodeEmailRegistered:        "This email is registered already; sign in, or reset the password",
	domain.CodeSessionExists:          "This session id is taken; choose another",
	domain.CodeSessionLimit:           "Session limit exceeded. BASIC tier allows 1 session(s). Currently: 1",
	domain.CodeSessionConnected:       "Session is connected already",
	domain.CodeSessionConnecting:      "Session is connecting already",
	domain.CodeSessionNotConnected:    "Session is not connected; connect it and scan the QR code first",
	domain.CodeWorkerConflict:         "Another worker has this endpoint",
	domain.CodeInvalidState:           "It is being changed by others at the moment; try again",
	domain.CodeIdempotencyConflict:    "This Idempotency-Key was used for another message; use a new key for each message",
	domain.CodeRateLimit:              rateMessage,
	domain.CodeMessageLimit:           "Message limit exceeded. BASIC tier allows 100 messages per hour",
	domain.CodeAPILimit:               "API call limit exceeded. BASIC tier allows 1000 calls per hour",
	domain.CodeWorkerCommunication:    "The worker could not do it; try again, and report it if it persists",
	domain.CodeMessageSendFailed:      "The worker limits how fast this session sends; try again in a minute",
	domain.CodeWorkerTimeout:          "The worker did not answer in time, so the outcome is not known; look at the status before you try again",
	domain.CodeNoAvailableWorkers:     "The workers are busy at the moment; try again in a minute",
	domain.CodeWorkerUnreachable:      "The session's worker cannot be reached at the moment; try again in a minute",
	domain.CodeEventsExpired:          "Events after position 12 are no longer kept; begin with the oldest ones by leaving the position out",
	domain.CodeOverloaded:             "Too many passwords are checked at once; try again in a moment",
	domain.CodeInternal:               internalMessage,
	domain.CodeNotReady:               "The server cannot do this at the moment: the disk is full; try again in a moment",
}

// failureExample returns an example of a failure.
func failureExample(status int, code domain.Code) map[string]any {
	message := failureMessages[code]
	failure := map[string]any{"code": string(code), "message": message}
	switch status {
	case 408:
		failure["message"] = "Request body did not arrive in time; send it again"
	case 413:
		failure["message"] = "Request body must be at most 1 MiB"
	case 415:
		failure["message"] = "Send JSON in UTF-8, with Content-Type: application/json"
	case 400:
		field := "email"
		if code == domain.CodeInvalidMessageType {
			field = "type"
		}
		failure["details"] = []any{map[string]any{"field": field, "message": message}}
	}
	return map[string]any{"success": false, "error": failure, "message": failure["message"], "requestId": "01JX3B5ZKQ7M", "timestamp": "2026-03-01T12:00:00.123Z"}
}
