package httpapi

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// later are the members about sending later, with values that a send would take or refuse.
var later = map[string][]string{
	"sendAt":   {`"2026-03-01T18:00:00Z"`, `""`, `7`, `{}`},
	"queue":    {`true`, `false`},
	"deadline": {`"1h"`, `""`, `[]`},
}

func TestAction_MemberAboutSendingLater_IsRefused(t *testing.T) {
	const about = `{"phone":"6289999999999",`
	for path, body := range map[string]string{
		"/message/m1/edit": about + `"newText":"x"`, "/message/m1/reaction": about + `"emoji":"👍"`, "/message/m1/delete": about + `"forEveryone":true`,
		"/message/m1/unsend": about + `"forEveryone":true`, "/message/m1/star": `{"phone":"6289999999999"`, "/message/m1/unstar": `{"phone":"6289999999999"`,
		"/message/m1/read": `{"phone":"6289999999999"`, "/sendSeen": `{"to":"6289999999999","messageId":"m1"`,
		"/startTyping": `{"to":"6289999999999"`, "/stopTyping": `{"to":"6289999999999"`,
	} {
		for name, values := range later {
			for _, value := range values {
				got, s := ask(t, "POST", "/api/v1"+path, keyText, body+`,"`+name+`":`+value+`}`)
				require.Equal(t, 400, got.Code, "%s %s: %s", path, name, got.Body)
				assert.Equal(t, domain.CodeValidation, got.Error.Code)
				assert.Equal(t, []string{name}, got.fields(), "%s %s %s", path, name, value)
				assert.Zero(t, s.calls)
			}
			got, s := ask(t, "POST", "/api/v1"+path, keyText, body+`,"`+name+`":null,"unknown":1}`)
			assert.Equal(t, 200, got.Code, "%s %s: %s", path, name, got.Body)
			assert.Equal(t, 1, s.calls)
		}
	}
}

func TestSendBulk_MemberAboutSendingLaterBesideTheList_IsRefused(t *testing.T) {
	for name, values := range later {
		for _, value := range values {
			got, s := ask(t, "POST", bulkPath, keyText, `{"messages":[{"to":"6289999999999","type":"text","message":"x"}],"`+name+`":`+value+`}`)
			require.Equal(t, 400, got.Code, got.Body)
			assert.Equal(t, []string{name}, got.fields())
			assert.Zero(t, s.calls)
		}
	}
}

func TestSend_EmptySendAtOrDeadline_IsRefused(t *testing.T) {
	for path, body := range map[string]string{
		"/sendText":              `{"to":"6289999999999","message":"x",`,
		"/sendPoll":              `{"to":"6289999999999","poll":{"question":"Tea?","options":["yes","no"]},`,
		"/sessions/support/send": `{"to":"6289999999999","type":"text","message":"x",`,
	} {
		for members, field := range map[string]string{
			`"sendAt":""`: "sendAt", `"sendAt":" "`: "sendAt", `"sendAt":"","queue":true`: "sendAt", `"deadline":""`: "deadline",
			`"queue":true,"deadline":""`: "deadline", `"sendAt":"2026-03-01T18:00:00Z","deadline":""`: "deadline",
		} {
			got, s := ask(t, "POST", "/api/v1"+path, keyText, body+members+"}")
			require.Equal(t, 400, got.Code, "%s %s: %s", path, members, got.Body)
			assert.Equal(t, []string{field}, got.fields(), members)
			assert.Zero(t, s.calls)
		}
		got, s := ask(t, "POST", "/api/v1"+path, keyText, body+`"sendAt":null,"deadline":null}`)
		require.Equal(t, 200, got.Code, got.Body)
		assert.Nil(t, s.last.(*domain.Outgoing).Schedule, "null is not given")
	}
	for _, body := range []string{`{"sendAt":""}`, `{"deadline":""}`} {
		got, s := ask(t, "PUT", "/api/v1/sessions/support/scheduled/m7", userToken, body)
		assert.Equal(t, 400, got.Code, got.Body)
		assert.Zero(t, s.calls)
	}
	results := sendBulk(t, &stub{}, `{"to":"6289999999999","type":"text","message":"x","sendAt":""}`).results()
	require.Len(t, results, 1)
	assert.Equal(t, []string{"sendAt"}, results[0].fields())
}

func TestScheduled_MemberThatCannotChange_IsRefusedWithTheOneToUse(t *testing.T) {
	for name, use := range map[string]string{
		"imageUrl": "mediaUrl", "fileUrl": "mediaUrl", "audioUrl": "mediaUrl", "videoUrl": "mediaUrl", "stickerUrl": "mediaUrl",
		"latitude": "location.latitude", "longitude": "location.longitude", "name": "location.name", "address": "location.address",
		"contactName": "contact.name", "contactPhone": "contact.phone", "contactEmail": "contact.email", "contactOrganization": "contact.organization",
		"url": "link.url", "title": "link.title", "description": "link.description", "thumbnail": "link.thumbnail",
		"type": "anew", "queue": "anew", "humanSimulation": "anew", "quotedMessageId": "anew", "mentions": "anew", "idempotencyKey": "anew",
	} {
		for _, value := range []string{`"x"`, `true`, `false`, `7`, `[]`} {
			got, s := ask(t, "PUT", "/api/v1/sessions/support/scheduled/m8", userToken, `{"caption":"B","`+name+`":`+value+`}`)
			require.Equal(t, 400, got.Code, "%s: %s", name, got.Body)
			assert.Equal(t, []string{name}, got.fields())
			assert.Contains(t, got.Error.Message, use)
			assert.Zero(t, s.calls)
		}
	}
}

// Each member that a route takes for a message can be changed, or is refused.
func TestScheduled_MembersOfSends_AreTakenOrRefused(t *testing.T) {
	var known []string
	for _, r := range theSurface().routes {
		if r.id == "updateScheduledMessage" {
			known = r.fields
		}
	}
	for _, r := range theSurface().routes {
		if r.takesIdempotencyKey() && !r.sendsMany {
			for _, name := range r.fields {
				if name != "id" {
					assert.Contains(t, known, name, r.id)
				}
			}
		}
	}
}

func TestScheduled_ContentOfAnotherType_IsRefused(t *testing.T) {
	for member, value := range map[string]string{
		"message": `"x"`, "filename": `"a.pdf"`, "location": `{"latitude":1,"longitude":2}`, "contact": `{"name":"Bo","phone":"6281234567891"}`,
		"link": `{"url":"https://example.com"}`, "poll": `{"question":"Tea?","options":["yes","no"]}`,
	} {
		got, s := ask(t, "PUT", "/api/v1/sessions/support/scheduled/m8", userToken, `{"caption":"B","`+member+`":`+value+`}`)
		require.Equal(t, 400, got.Code, "%s: %s", member, got.Body)
		assert.Equal(t, []string{member}, got.fields())
		assert.Contains(t, got.Error.Message, "use mediaUrl, media or caption")
		assert.Zero(t, s.calls)
	}
	got, _ := ask(t, "PUT", "/api/v1/sessions/support/scheduled/m8", userToken, `{"unknown":1,"imageUrl":null}`)
	assert.Equal(t, 200, got.Code, "what no route knows is ignored")
}
