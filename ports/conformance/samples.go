package conformance

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// noon is the creation time of samples.
var noon = time.Date(2024, 5, 17, 12, 0, 0, 123456000, time.UTC)

// at returns a time some minutes after noon.
func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

// hash returns a distinct hash for each text.
func hash(text string) (h [32]byte) {
	copy(h[:], text+"................................")
	return h
}

// The following functions return rows with few fields beyond the required ones.

func user(id string) *domain.User {
	return &domain.User{
		ID: id, Name: "User " + id, Email: id + "@example.com", PasswordHash: "hash",
		Role: domain.RoleUser, Tier: domain.TierBasic, Active: true, CreatedAt: noon,
	}
}

func session(id, userID string) *domain.Session {
	return domain.NewSession(id, userID, "Session "+id, "", noon)
}

// assignedSession returns a session that is assigned.
func assignedSession(id, userID, workerID string) *domain.Session {
	s := session(id, userID)
	s.Intent, s.Status = domain.Up, domain.Connected
	s.WorkerID, s.Generation, s.AssignedAt = workerID, 1, noon
	return s
}

func worker(id string, capacity int) *domain.Worker {
	return &domain.Worker{
		ID: id, Endpoint: "http://" + id + ":8001", Capacity: capacity, Online: true,
		Interval: 30 * time.Second, CreatedAt: noon,
	}
}

func apiKey(id, sessionID, userID string) *domain.APIKey {
	return &domain.APIKey{ID: id, SessionID: sessionID, UserID: userID, Hash: hash(id), CreatedAt: noon}
}

func refreshTokenFamily(id, userID string) *domain.RefreshTokenFamily {
	return &domain.RefreshTokenFamily{ID: id, UserID: userID, TokenHash: hash(id), CreatedAt: noon, ExpiresAt: at(60)}
}

func cleanup(workerID, sessionID string, due time.Time) *domain.Cleanup {
	return &domain.Cleanup{
		WorkerID: workerID, SessionID: sessionID, Command: domain.CommandLogout, Generation: 1, DueAt: due, CreatedAt: noon,
	}
}

// migration returns a pending migration, created some minutes after noon.
func migration(id, sessionID string, minute int) *domain.Migration {
	return &domain.Migration{
		ID: id, SessionID: sessionID, UserID: "u1", Kind: domain.MigrationByOperator, FromWorker: "w1",
		Status: domain.MigrationPending, CreatedAt: at(minute),
	}
}

func replica(id string) *domain.Replica {
	return &domain.Replica{ID: id, Name: "host " + id, Version: "1.0.0", StartedAt: noon, SeenAt: noon}
}

// sent returns an outbound message of some minutes after noon.
func sent(id, sessionID, userID string, minute int) *domain.Message {
	return &domain.Message{
		ID: id, SessionID: sessionID, UserID: userID, Direction: domain.Outbound,
		From: "6281100000000@s.whatsapp.net", To: "6281234567890@s.whatsapp.net",
		Type: domain.TypeText, Content: "Hello " + id, Status: domain.MessagePending, CreatedAt: at(minute),
	}
}

// received returns an inbound message of some minutes after noon.
func received(id, whatsAppID, sessionID, userID string, minute int) *domain.Message {
	return &domain.Message{
		ID: id, WhatsAppID: whatsAppID, SessionID: sessionID, UserID: userID, Direction: domain.Inbound,
		From: "6281234567890@s.whatsapp.net", To: "6281100000000@s.whatsapp.net",
		Type: domain.TypeText, Content: "Hi " + id, Status: domain.MessageDelivered, CreatedAt: at(minute),
	}
}

func webhook(id, sessionID string, slot int) *domain.Webhook {
	return &domain.Webhook{
		ID: id, SessionID: sessionID, UserID: "u1", Slot: slot, URL: "https://example.com/" + id, Active: true, CreatedAt: noon,
	}
}

// delivery returns a pending delivery, created some minutes after noon.
func delivery(id, webhookID string, position int64, minute int) *domain.Delivery {
	return &domain.Delivery{
		ID: id, WebhookID: webhookID, Position: position, Type: domain.EventMessageSent, Status: domain.DeliveryPending,
		NextAt: at(minute), CreatedAt: at(minute),
	}
}

// idempotencyKey returns a key of some minutes after noon.
func idempotencyKey(key, sessionID string, minute int) *domain.IdempotencyKey {
	return &domain.IdempotencyKey{SessionID: sessionID, Key: key, Fingerprint: hash(key), MessageID: "m" + key, CreatedAt: at(minute)}
}

// queued returns a message that waits, to be sent some minutes after noon and within ten minutes.
func queued(id, sessionID string, minute int) *domain.QueuedMessage {
	return &domain.QueuedMessage{
		ID: id, SessionID: sessionID, UserID: "u1", SendAt: at(minute), Deadline: at(minute + 10), CreatedAt: noon, Size: 7,
		Message: domain.Outgoing{To: "6281234567890", Type: domain.TypeImage, Media: "aGVsbG8="}, Upload: []byte(id),
	}
}

// sendQueue returns a queue that is due some minutes after noon.
func sendQueue(sessionID, userID string, minute int) *domain.SendQueue {
	return &domain.SendQueue{SessionID: sessionID, UserID: userID, Waiting: 1, Bytes: 7, DueAt: at(minute)}
}

func event(reason string, at time.Time) *domain.Event {
	return &domain.Event{Type: domain.EventSessionConnected, At: at, SessionID: "s1", Reason: reason}
}

// relations returns relations with every field set.
func relations() domain.Relations {
	return domain.Relations{
		Author: "6281300000000@s.whatsapp.net", QuotedID: "3EB0QUOTED", TargetID: "it's \"3EB0\"",
		Mentions: []string{"6281400000000@s.whatsapp.net", "123@lid"},
	}
}

// fullRows returns one row of every kind with every field set. Times are neither in UTC nor whole
// microseconds. Parents come first.
func fullRows() []any {
	zone := time.FixedZone("UTC+7", 7*60*60)
	n := 0
	when := func() time.Time {
		n++
		return noon.Add(time.Duration(n)*time.Hour + 789*time.Nanosecond).In(zone)
	}
	u := &domain.User{
		ID: "u1", Name: "Ann Lee", Email: "ann@example.com", PasswordHash: "$2a$10$hash",
		Role: domain.RoleAdministrator, Tier: domain.TierMax, Active: true,
		CredentialsAt: when(), LastLoginAt: when(), CreatedAt: when(), UpdatedAt: when(),
	}
	w := &domain.Worker{
		ID: "w1", Endpoint: "http://w1:8001/base", Capacity: 50, AnnouncedCapacity: 50, Used: 7, Description: "first", Version: "1.2.3",
		Environment: "production", Labels: map[string]string{"pool": "max", "zone": "a'b\"c"},
		Capabilities: []domain.Capability{domain.CapLease, domain.CapDedupe}, Interval: 1500 * time.Millisecond,
		StateGroup: "it's nfs-7", Failover: domain.FailoverMove,
		Online: true, Draining: true, DrainID: "b1", DrainForced: true, InMaintenance: true, TokenEpoch: "0123abcd", CanarySince: when(), Suspect: "it's \"unwell\"", LastHeartbeat: when(), RegisteredAt: when(),
		DownReason: domain.DownHeartbeatTimeout, DownAt: when(), FailoverAt: when(),
		CPU: 12.5, Memory: -1, Uptime: 90*time.Minute + time.Millisecond, MessageCount: 1 << 40,
		ReportedBreakdown: &domain.Breakdown{
			Total: 21, Connected: 1, Disconnected: 2, QRRequired: 3, Reconnecting: 4, Error: 5, Init: 6,
		},
		CreatedAt: when(), UpdatedAt: when(),
	}
	s := &domain.Session{
		ID: "s1", UserID: "u1", Name: "Support line", Description: "two\nlines", DisplayName: "Ann’s 📱",
		PhoneNumber: "6281234567890", Intent: domain.Up, Status: domain.Reconnecting, StatusAt: when(),
		WasConnected: true, ScanRestarted: true, UnscannedRuns: 3, ConnectedFrom: "2001:db8::/64", LastError: "it's \"broken\"", WorkerID: "w1", Generation: 1 << 40, AssignedAt: when(),
		CredentialsWorkerID: "w2", CredentialsGroup: "it's nfs-7", HomePolicy: domain.HomeAbandoned, HomeWaitUntil: when(), PreviousWorkerID: "w3", PlacementEvent: domain.EventSessionMigrated, MigrationID: "g1", MigrationTargetID: "w5",
		Command: domain.CommandRestart, Confirmed: true, Attempts: 2, FailedStarts: 6, Restarts: 3,
		ClaimedBy: "r1", ClaimedUntil: when(), DebounceUntil: when(), LoggedOut: true, ExcludedWorkerID: "w4", ExcludedUntil: when(),
		QR:           domain.QR{Code: "2@abc,def", Image: []byte("\x89PNG\r\n\x1a\n\x00\xff"), ExpiresAt: when()},
		PairingPhone: "6281234567891", PairingCode: "ABCD-1234",
		DueAt: when(), LastReportWorkerTime: when(), LastReportAppliedAt: when(), LastSeenAt: when(), CreatedAt: when(), UpdatedAt: when(),
	}
	return []any{
		u, w, s,
		&domain.RefreshTokenFamily{
			ID: "f1", UserID: "u1", TokenHash: hash("token"), ReuseKey: hash("reuse"), CreatedAt: when(), LastUsedAt: when(),
			ExpiresAt: when(), RevokedAt: when(), Address: "2001:db8::1", UserAgent: "curl/8 \"é\"",
		},
		&domain.PasswordReset{TokenHash: hash("reset"), UserID: "u1", ExpiresAt: when()},
		&domain.APIKey{
			ID: "k1", SessionID: "s1", UserID: "u1", Name: "default", Hint: "wg_abcd", Hash: hash("key"),
			LastUsedAt: when(), CreatedAt: when(), ExpiresAt: when(), RevokedAt: when(),
		},
		&domain.Cleanup{
			WorkerID: "w1", SessionID: "s9", Command: domain.CommandDelete, Generation: 4, DueAt: when(),
			Attempts: 3, ClaimedBy: "r1", CreatedAt: when(), UserID: "u1", Endpoint: "http://w1:8001/base", Destroyed: true, StateGroup: "it's shared",
		},
		&domain.Migration{
			ID: "g1", SessionID: "s1", UserID: "u1", Kind: domain.MigrationByRebalance, BatchID: "b1", FromWorker: "w1", ToWorker: "w2",
			Status: domain.MigrationRunning, Reason: "it's \"better\"", Error: "two\nlines",
			CreatedAt: when(), StartedAt: when(), CompletedAt: when(),
		},
		&domain.Replica{ID: "r1", Name: "host – 1", Version: "1.2.3", StartedAt: when(), SeenAt: when()},
		&domain.Message{
			ID: "m1", WhatsAppID: "3EB0C431C26A1916E07A", SessionID: "s1", UserID: "u1", Direction: domain.Inbound,
			From: "6281234567890@s.whatsapp.net", To: "6281100000000@s.whatsapp.net",
			Type: domain.TypeImage, Content: `{"a":"\u0001"}`, MediaURL: "https://example.com/a.png",
			Media:    domain.MediaRef{ID: "m/1 \"a\"", Type: "image/png", Size: 1 << 40, SHA256: "00ff"},
			Filename: "a b.png", Caption: "Größe 🎉", Relations: relations(), Status: domain.MessageRead, Error: "none", Unreported: true, Unforwarded: true,
			CreatedAt: when(), SentAt: when(), DeliveredAt: when(), ReadAt: when(),
		},
		&domain.Webhook{
			ID: "h1", SessionID: "s1", UserID: "u1", Slot: 3, URL: "https://example.com/in?a=1#ü",
			Events: []domain.EventType{domain.EventMessageSent, domain.EventSessionQR}, Active: true, OffReason: "it's \"gone\"",
			Secret: domain.SealedSecret{Sealed: []byte("\x00\xff\x01"), Hint: "ab+/"}, Former: domain.SealedSecret{Sealed: []byte("\xfe\x00"), Hint: "cdef"},
			FormerUntil: when(), Failures: 7, Since: 1 << 40, DueAt: when(), ClaimedBy: "r1", ClaimedUntil: when(),
			CreatedAt: when(), UpdatedAt: when(), UntoldSince: when(),
		},
		&domain.Delivery{
			ID: "d1", WebhookID: "h1", Position: 1 << 40, Type: domain.EventMessageSent, Status: domain.DeliveryDead, Attempts: 6,
			ResponseCode: 503, Reason: "it's \"away\"", NextAt: when(), CreatedAt: when(), EndedAt: when(),
		},
		&domain.IdempotencyKey{
			SessionID: "s1", Key: "order 17/é", Fingerprint: hash("body"), MessageID: "m1", CreatedAt: when(),
			Failure: domain.StoredError{Kind: domain.Timeout, Code: domain.CodeWorkerTimeout, Message: "it's \"unknown\""},
		},
		&domain.SendQueue{
			SessionID: "s1", UserID: "u1", Waiting: 3, Bytes: 1 << 40, DueAt: when(), NotBefore: when(), Hold: "it's \"busy\"",
			ClaimedBy: "r1", ClaimedUntil: when(),
		},
		&domain.QueuedMessage{
			ID: "q1", SessionID: "s1", UserID: "u1", SendAt: when(), Deadline: when(), CreatedAt: when(), Attempts: 2, Size: 1 << 40,
			Message: domain.Outgoing{
				To: "+62 812", Type: domain.TypeImage, Text: "Größe 🎉", MediaURL: "https://example.com/a.png", Media: "aGVs\nbG8=",
				MediaType: "image/png", Filename: "a b.png", Caption: "it's \"mine\"",
				Location: &domain.Location{Latitude: -6.2, Longitude: 106.8, Name: "Office", Address: "Jl. 1"},
				Contact:  &domain.Contact{Name: "Bo", Phone: "6281", Email: "bo@example.com", Organization: "Ltd"},
				Link:     &domain.Link{URL: "https://example.com", Title: "T", Description: "D", Thumbnail: "aGk="},
				Poll:     &domain.Poll{Question: "Tea?", Options: []string{"yes", "no"}, MultipleAnswers: true},

				QuotedMessageID: "3EB0", Mentions: []string{"6281", "6282"}, HumanSimulation: true,
			},
			Upload: []byte("\x00\xff\x01"), UploadType: "image/png", UploadSHA256: "00ff",
		},
		&domain.Event{
			Type: domain.EventSessionFailedOver, At: when(), UserID: "u1", SessionID: "s1", WorkerID: "w1",
			FromWorker: "w2", Generation: 5, Status: domain.Reconnecting, Reason: "worker lost",
			Message: &domain.Message{
				ID: "m1", WhatsAppID: "3EB0C431C26A1916E07A", SessionID: "s1", UserID: "u1", Direction: domain.Inbound,
				From: "6281234567890@s.whatsapp.net", To: "6281100000000@s.whatsapp.net",
				Type: domain.TypeImage, Content: `{"a":"\u0001"}`, MediaURL: "https://example.com/a.png",
				Media:    domain.MediaRef{ID: "m/1 \"a\"", Type: "image/png", Size: 1 << 40, SHA256: "00ff"},
				Filename: "a b.png", Caption: "Größe 🎉", Relations: relations(), Status: domain.MessageRead, Error: "none", Unreported: true, Unforwarded: true,
				CreatedAt: when(), SentAt: when(), DeliveredAt: when(), ReadAt: when(),
			},
			Session: &domain.SessionSnapshot{
				Name: "Support line", Description: "two\nlines", DisplayName: "Ann’s 📱", PhoneNumber: "6281234567890",
				LastError: "it's \"broken\"", LastSeenAt: when(), CreatedAt: when(), UpdatedAt: when(),
			},
		},
	}
}

// minimalRows returns the rows of fullRows with only the required fields set.
func minimalRows() []any {
	return []any{
		&domain.User{ID: "u1", Email: "u1@example.com", Role: domain.RoleUser, Tier: domain.TierBasic},
		&domain.Worker{ID: "w1", Endpoint: "http://w1:8001", Capacity: 1},
		&domain.Session{ID: "s1", UserID: "u1", Name: "s", Intent: domain.Down, Status: domain.Disconnected},
		&domain.RefreshTokenFamily{ID: "f1", UserID: "u1", TokenHash: hash("token")},
		&domain.PasswordReset{UserID: "u1", TokenHash: hash("reset")},
		&domain.APIKey{ID: "k1", SessionID: "s1", UserID: "u1", Hash: hash("key")},
		&domain.Cleanup{WorkerID: "w1", SessionID: "s9", StateGroup: "it's shared", Command: domain.CommandLogout},
		&domain.Migration{ID: "g1", SessionID: "s1", Kind: domain.MigrationByDrain, Status: domain.MigrationPending},
		&domain.Replica{ID: "r1"},
		&domain.Message{
			ID: "m1", SessionID: "s1", UserID: "u1", Direction: domain.Outbound, Type: domain.TypeText,
			Status: domain.MessagePending,
		},
		&domain.Webhook{ID: "h1", SessionID: "s1", Slot: 1, URL: "https://example.com"},
		&domain.Delivery{ID: "d1", WebhookID: "h1", Position: 1, Status: domain.DeliveryPending},
		&domain.IdempotencyKey{SessionID: "s1", Key: "order 17/é"},
		&domain.SendQueue{SessionID: "s1"},
		&domain.QueuedMessage{ID: "q1", SessionID: "s1"},
		&domain.Event{Type: domain.EventWorkerOnline},
	}
}

// unstored lists the fields that a store sets itself.
var unstored = []string{"Rev", "Used", "Seq"}

// requireFull fails if a field of the row is zero, except for the named fields. The sample then lacks a
// new field.
func requireFull(t *testing.T, row any, except ...string) {
	t.Helper()
	walk(reflect.ValueOf(row), "", func(path string, v reflect.Value) {
		if slices.Contains(except, path) {
			return
		}
		require.False(t, v.IsZero(), "the sample of %T does not set %s: add it to conformance", row, path)
	})
}

// stored returns a copy of the row as a store returns it: times in UTC and to the microsecond, nil for
// empty maps and slices, and without the fields that the store sets itself.
func stored(row any) any {
	c := deepCopy(reflect.ValueOf(row))
	walk(c, "", func(path string, v reflect.Value) {
		switch x := v.Interface().(type) {
		case time.Time:
			x = x.UTC().Truncate(time.Microsecond)
			if x.IsZero() {
				x = time.Time{}
			}
			v.Set(reflect.ValueOf(x))
		default:
			if k := v.Kind(); (k == reflect.Map || k == reflect.Slice) && v.Len() == 0 {
				v.SetZero()
			}
		}
	})
	for _, name := range unstored {
		if f := c.Elem().FieldByName(name); f.IsValid() {
			f.SetZero()
		}
	}
	return c.Interface()
}

// requireSame requires that the stored row equals the given one.
func requireSame(t *testing.T, given, got any) {
	t.Helper()
	walk(reflect.ValueOf(got), "", func(path string, v reflect.Value) {
		if x, ok := v.Interface().(time.Time); ok {
			require.Equal(t, time.UTC, x.Location(), "%T.%s", got, path)
			require.Equal(t, x.Truncate(time.Microsecond), x, "%T.%s", got, path)
		}
	})
	require.Equal(t, stored(given), stored(got))
}

// scribble changes every field that can be reached from the row, in place.
func scribble(row any) {
	walk(reflect.ValueOf(row), "", func(path string, v reflect.Value) {
		if path == "Rev" {
			return
		}
		switch x := v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(x.Add(time.Hour)))
			return
		case map[string]string:
			for k := range x {
				x[k] = "scribbled"
			}
			x["scribbled"] = "scribbled"
			return
		}
		switch v.Kind() {
		case reflect.String:
			v.SetString("scribbled")
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		case reflect.Uint8:
			v.SetUint(v.Uint() + 1)
		case reflect.Float64:
			v.SetFloat(v.Float() + 1)
		case reflect.Pointer: // nil, because walk descends into others
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				switch e := v.Index(i); e.Kind() {
				case reflect.String:
					e.SetString("scribbled")
				case reflect.Uint8:
					e.SetUint(e.Uint() ^ 0xff)
				default:
					panic(fmt.Sprintf("conformance: no scribbling on %s", v.Type()))
				}
			}
		default:
			panic(fmt.Sprintf("conformance: no scribbling on %s", v.Type()))
		}
	})
}

// walk calls fn with every field of a struct and of the structs inside it. It omits the fields that a
// store sets itself, and does not descend into times.
func walk(v reflect.Value, path string, fn func(path string, v reflect.Value)) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[time.Time]() {
		fn(path, v)
		return
	}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if path == "" && slices.Contains(unstored, f.Name) {
			continue
		}
		name := f.Name
		if path != "" {
			name = path + "." + name
		}
		walk(v.FieldByIndex(f.Index), name, fn)
	}
}

// deepCopy copies a pointer to a row.
func deepCopy(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(deepCopy(v.Elem()))
		return c
	case reflect.Struct:
		c := reflect.New(v.Type()).Elem()
		c.Set(v)
		if v.Type() != reflect.TypeFor[time.Time]() {
			for i := range v.NumField() {
				c.Field(i).Set(deepCopy(v.Field(i)))
			}
		}
		return c
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		c := reflect.MakeMap(v.Type())
		for k, e := range v.Seq2() {
			c.SetMapIndex(k, e)
		}
		return c
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		return reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v)
	}
	return v
}
