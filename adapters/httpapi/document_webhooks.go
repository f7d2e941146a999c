package httpapi

import (
	"net/http"
	"strconv"
)

const (
	retrySchedule = "after 5 s, 30 s, 2 min, 15 min and 1 h, each up to 20 % earlier or later"

	receivedDescription = "What the URL of a webhook gets. Verify the signature by a library of [Standard Webhooks](https://www.standardwebhooks.com) with the secret " +
		"of the webhook, of the body as it came, before you read it. Refuse timestamps that are more than 5 minutes off.\n\n" +
		"Answer 2xx within 10 s. Anything else is tried again " + retrySchedule + "; the delivery is dead if all six attempts fail. Redirects are not followed. " +
		"410, and 100 failed attempts in a row, switch the webhook off; its owner gets a mail. These figures are settings of the server.\n\n" +
		"Events of a webhook come in the order of their `position`, and each one waits until the one before is delivered or dead. The same event may come twice, with the same " +
		"`webhook-id`: remember the ids that you have handled, or the latest `position`. The answer's body is not used; 256 bytes of it are shown by a test."
)

// receivedWebhook describes the requests that receivers of webhooks get, for the section webhooks of the
// document.
func receivedWebhook() map[string]any {
	header := func(name, description, example string) any {
		return map[string]any{
			"name": name, "in": "header", "required": true, "description": description, "example": example,
			"schema": map[string]any{"type": "string"},
		}
	}
	responses := make(map[string]any)
	for status, description := range map[int]string{
		http.StatusNoContent:          "Delivered; any 2xx will do",
		http.StatusGone:               "Not delivered, and the webhook is switched off",
		http.StatusServiceUnavailable: "Not delivered; any status but 2xx and 410, and no answer in time, has the event sent again later",
	} {
		responses[strconv.Itoa(status)] = map[string]any{"description": description}
	}
	return map[string]any{"event": map[string]any{"post": map[string]any{
		"operationId": "receiveEvent", "tags": []any{tagWebhooks}, "summary": "An event of a session", "description": receivedDescription,
		"parameters": []any{
			header("webhook-id", "The id of the delivery, the same in all attempts", "01a228a1-6727-7156-b7a2-4bd9f5a96488"),
			header("webhook-timestamp", "When this attempt was made, in seconds since 1970; the signature covers it", "1795977996"),
			header("webhook-signature", "v1, a comma, and the base64 text of HMAC-SHA256(key, `id.timestamp.body`). The key is the base64 text after whsec_, decoded. "+
				"While a former secret signs too there are two of them, separated by a blank: one match is enough", "v1,JpSCUuUca3awOUu+t4CEUjlcxuqzwKmTKdwCeuo51eQ="),
		},
		"requestBody": map[string]any{"required": true, "content": map[string]any{"application/json": map[string]any{
			"schema": map[string]any{"$ref": "#/components/schemas/Event"},
		}}},
		"responses": responses,
	}}}
}
