package conformance

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var accountClauses = []clause{
	{"emails are unique", uniqueEmails},
	{"users are filtered", usersFiltered},
	{"users are sorted", usersSorted},
	{"users come in pages", usersPaged},
	{"users and sessions come in ranges", rowsInRanges},
	{"users are searched literally", usersSearched},
	{"reservations of users", userReservations},
	{"unscanned runs of users", unscannedRunsOfUsers},
	{"the logins of a user are revoked", revokeAll},
	{"expired logins are deleted", deleteExpired},
	{"families of a user are listed, latest use first", familiesOfUser},
	{"password resets", passwordResets},
	{"keys are unique", uniqueKeys},
	{"keys of a user and of a session", keyLists},
	{"keys are deleted", keysDeleted},
	{"keys that have ended are deleted", endedKeysDeleted},
}

func (d *db) usage(id string) domain.UserUsage {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) (domain.UserUsage, error) { return tx.Users.Usage(ctx, id) })
}

func (d *db) byEmail(email string) *domain.User {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) (*domain.User, error) { return tx.Users.ByEmail(ctx, email) })
}

func uniqueEmails(d *db) {
	a, b := user("u1"), user("u2")
	d.put(a, b)
	require.Equal(d.T, "u2", d.byEmail("u2@example.com").ID)

	duplicate := user("u3")
	duplicate.Email = a.Email
	require.ErrorIs(d.T, d.tryPut(duplicate), ports.ErrExists)
	d.requireGone(duplicate)
	b.Email = a.Email
	require.ErrorIs(d.T, d.tryPut(b), ports.ErrExists)
	require.Equal(d.T, "u2@example.com", reload(d, b).Email)
	require.Equal(d.T, "u1", d.byEmail(a.Email).ID)

	a.Email = "new@example.com"
	d.put(a)
	require.Equal(d.T, "u1", d.byEmail("new@example.com").ID)
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.User, error) {
		return tx.Users.ByEmail(ctx, "u1@example.com")
	})
	b.Email = "u1@example.com" // free again
	d.put(b)
	require.Equal(d.T, "u2", d.byEmail("u1@example.com").ID)
}

// users returns the ids of a list, and requires the same total as without pages.
func (d *db) users(f ports.UserFilter, p ports.Page) (ids []string, total int) {
	d.Helper()
	all := read(d, func(ctx context.Context, tx *ports.Tx) (users []*domain.User, err error) {
		users, total, err = tx.Users.List(ctx, f, p)
		return users, err
	})
	for _, u := range all {
		ids = append(ids, u.ID)
	}
	return ids, total
}

func usersFiltered(d *db) {
	add := func(id string, minute int, tier domain.Tier, role domain.Role, active bool) {
		u := user(id)
		u.CreatedAt, u.Tier, u.Role, u.Active = at(minute), tier, role, active
		d.put(u)
	}
	add("a", 1, domain.TierBasic, domain.RoleUser, true)
	add("c", 3, domain.TierBasic, domain.RoleUser, false)
	add("b", 2, domain.TierPro, domain.RoleUser, true)
	add("d", 4, domain.TierPro, domain.RoleAdministrator, true)
	yes, no := true, false
	for _, c := range []struct {
		filter ports.UserFilter
		want   []string
	}{
		{ports.UserFilter{}, []string{"d", "c", "b", "a"}},
		{ports.UserFilter{Asc: true}, []string{"a", "b", "c", "d"}},
		{ports.UserFilter{Tier: domain.TierBasic}, []string{"c", "a"}},
		{ports.UserFilter{Tier: domain.TierMax}, nil},
		{ports.UserFilter{Role: domain.RoleAdministrator}, []string{"d"}},
		{ports.UserFilter{Active: &yes}, []string{"d", "b", "a"}},
		{ports.UserFilter{Active: &no}, []string{"c"}},
		{ports.UserFilter{Tier: domain.TierPro, Role: domain.RoleUser, Active: &yes}, []string{"b"}},
		{ports.UserFilter{Search: "user B"}, []string{"b"}},
		{ports.UserFilter{Search: "C@EXAMPLE"}, []string{"c"}},
		{ports.UserFilter{Search: "user", Active: &no}, []string{"c"}},
		{ports.UserFilter{Search: "nobody"}, nil},
	} {
		ids, total := d.users(c.filter, ports.Page{})
		require.Equal(d.T, c.want, ids, "%+v", c.filter)
		require.Equal(d.T, len(c.want), total, "%+v", c.filter)
	}
}

func usersSorted(d *db) {
	for i, id := range []string{"u1", "u2", "u3", "u4"} {
		u := user(id)
		u.Name = []string{"carol", "alice", "dave", "bob"}[i]
		u.Email = []string{"b@x.com", "d@x.com", "a@x.com", "c@x.com"}[i]
		u.CreatedAt = []time.Time{at(2), at(1), at(4), at(3)}[i]
		u.LastLoginAt = []time.Time{at(9), {}, at(7), at(8)}[i]
		d.put(u)
	}
	for sort, want := range map[string][]string{
		"":            {"u2", "u1", "u4", "u3"},
		"createdAt":   {"u2", "u1", "u4", "u3"},
		"name":        {"u2", "u4", "u1", "u3"},
		"email":       {"u3", "u1", "u4", "u2"},
		"lastLoginAt": {"u2", "u3", "u4", "u1"}, // users who never logged in come before all others
	} {
		ids, _ := d.users(ports.UserFilter{Sort: sort, Asc: true}, ports.Page{})
		require.Equal(d.T, want, ids, "by %q", sort)
		slices.Reverse(want)
		ids, _ = d.users(ports.UserFilter{Sort: sort}, ports.Page{})
		require.Equal(d.T, want, ids, "by %q, descending", sort)
	}
}

func usersPaged(d *db) {
	want := make(map[string]bool)
	for i := range 10 {
		u := user(string(rune('a' + i)))
		u.Name = "Same"
		want[u.ID] = true
		d.put(u) // all of the same age
	}
	for _, sort := range []string{"", "createdAt", "name", "email", "lastLoginAt"} {
		for _, asc := range []bool{false, true} {
			f := ports.UserFilter{Sort: sort, Asc: asc}
			whole, _ := d.users(f, ports.Page{})
			requirePages(d.T, whole, func(p ports.Page) ([]string, int) { return d.users(f, p) })
			require.Len(d.T, whole, len(want))
		}
	}
}

// requirePages requires that the pages of a list make up the whole list. Each page returns the same
// total, even beyond the last.
func requirePages(t *testing.T, whole []string, list func(p ports.Page) (ids []string, total int)) {
	t.Helper()
	for _, limit := range []int{1, 3, len(whole), len(whole) + 5} {
		var all []string
		for offset := 0; offset < len(whole); offset += limit {
			ids, total := list(ports.Page{Offset: offset, Limit: limit})
			require.Len(t, ids, min(limit, len(whole)-offset))
			require.Equal(t, len(whole), total)
			all = append(all, ids...)
		}
		require.Equal(t, whole, all, "in pages of %d", limit)
	}
	rest, total := list(ports.Page{Offset: len(whole) - 2})
	require.Equal(t, whole[len(whole)-2:], rest)
	require.Equal(t, len(whole), total)
	for _, p := range []ports.Page{{Offset: len(whole)}, {Offset: len(whole) + 100, Limit: 3}} {
		ids, total := list(p)
		require.Empty(t, ids)
		require.Equal(t, len(whole), total)
	}
}

// texts are names with the special characters of patterns. literal maps search texts to the names that
// they find.
var (
	texts = []string{
		`100% sure`, `100 percent`, `a_b`, `axb`, `c\d`, `cd`, `O'Neil`, `say "hi"`, `李雷 Ünal`, `x -- y; drop`, `[a-z]*.+?`, `MiXeD`,
	}
	literal = map[string][]string{
		`%`: {texts[0]}, `100%`: {texts[0]}, `0 p`: {texts[1]}, `%%`: nil, `_`: {texts[2]}, `a_b`: {texts[2]}, `A_B`: {texts[2]},
		`___`: nil, `\`: {texts[4]}, `c\d`: {texts[4]}, `\\`: nil, `'`: {texts[6]}, `o'neil`: {texts[6]}, `''`: nil, `"HI"`: {texts[7]},
		`雷`: {texts[8]}, `李雷 Ü`: {texts[8]}, `--`: {texts[9]}, `; DROP`: {texts[9]}, `[a-z]`: {texts[10]}, `*.`: {texts[10]},
		`mixed`: {texts[11]}, `MIXED`: {texts[11]}, `%mixed%`: nil, `mix%ed`: nil,
	}
)

// requireLiteral requires that each search finds the right texts.
func requireLiteral(t *testing.T, search func(text string) []string) {
	t.Helper()
	for text, want := range literal {
		require.ElementsMatch(t, want, search(text), "search for %s", text)
	}
}

func usersSearched(d *db) {
	for i, text := range texts {
		u := user(string(rune('a' + i)))
		u.Name = text
		d.put(u)
	}
	requireLiteral(d.T, func(text string) (names []string) {
		found := read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.User, error) {
			all, _, err := tx.Users.List(ctx, ports.UserFilter{Search: text}, ports.Page{})
			return all, err
		})
		for _, u := range found {
			names = append(names, u.Name)
		}
		return names
	})
}

func userReservations(d *db) {
	u := user("u1")
	d.put(u, user("u2"))
	type usage = domain.UserUsage
	require.Zero(d.T, d.usage("u1"))
	for i, step := range []struct {
		add, max usage
		full     bool
		want     usage
	}{
		{usage{Sessions: 2}, usage{Sessions: 2}, false, usage{Sessions: 2}},
		{usage{Sessions: 1}, usage{Sessions: 2}, true, usage{Sessions: 2}},
		{usage{ActiveSessions: 1}, usage{ActiveSessions: 1}, false, usage{Sessions: 2, ActiveSessions: 1}}, // Sessions does not grow
		{usage{Sessions: 1, ActiveSessions: 1}, usage{Sessions: 9, ActiveSessions: 1}, true, usage{Sessions: 2, ActiveSessions: 1}},
		{usage{Sessions: 1, ActiveSessions: 1}, usage{Sessions: 2, ActiveSessions: 9}, true, usage{Sessions: 2, ActiveSessions: 1}},
		{usage{Sessions: 1, ActiveSessions: -1}, usage{Sessions: 3}, false, usage{Sessions: 3}},
		{usage{Sessions: -1}, usage{}, false, usage{Sessions: 2}}, // a limit below the usage does not matter
		{usage{ActiveSessions: 3}, usage{ActiveSessions: 2}, true, usage{Sessions: 2}},
		{usage{ActiveSessions: 3}, usage{ActiveSessions: 3}, false, usage{Sessions: 2, ActiveSessions: 3}},
		{usage{}, usage{}, false, usage{Sessions: 2, ActiveSessions: 3}},
		{usage{Sessions: -2, ActiveSessions: -3}, usage{}, false, usage{}},
	} {
		err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
			return tx.Users.Reserve(ctx, "u1", step.add, step.max)
		})
		if step.full {
			require.ErrorIs(d.T, err, ports.ErrFull, "step %d", i)
		} else {
			require.NoError(d.T, err, "step %d", i)
		}
		require.Equal(d.T, step.want, d.usage("u1"), "step %d", i)
	}
	require.Zero(d.T, d.usage("u2"))
	require.Equal(d.T, u.Rev, reload(d, u).Rev)
	u.Name = "Renamed"
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		return tx.Users.Reserve(ctx, "u1", usage{Sessions: 1}, usage{Sessions: 1})
	})
	d.put(u)
	require.Equal(d.T, usage{Sessions: 1}, d.usage("u1"), "a Put does not change the usage")
}

func unscannedRunsOfUsers(d *db) {
	u := user("u1")
	d.put(u, user("u2"))
	runsOf := func(id string) domain.UnscannedRuns {
		return read(d, func(ctx context.Context, tx *ports.Tx) (domain.UnscannedRuns, error) {
			return tx.Users.UnscannedRuns(ctx, id)
		})
	}
	count := func(began, ended time.Time) {
		d.update(func(ctx context.Context, tx *ports.Tx) error {
			return tx.Users.CountUnscannedRun(ctx, "u1", began, ended)
		})
	}
	require.Zero(d.T, runsOf("u1"))
	for i, step := range []struct {
		began, ended time.Time
		want         domain.UnscannedRuns
	}{
		{at(10), at(20), domain.UnscannedRuns{Count: 1, EndedAt: at(20)}},
		{at(11), at(21), domain.UnscannedRuns{Count: 1, EndedAt: at(20)}}, // at the same time as the first
		{at(20), at(30), domain.UnscannedRuns{Count: 2, EndedAt: at(30)}},
		{at(29), at(99), domain.UnscannedRuns{Count: 2, EndedAt: at(30)}},
		{at(31), at(32), domain.UnscannedRuns{Count: 3, EndedAt: at(32)}},
	} {
		count(step.began, step.ended)
		require.Equal(d.T, step.want, runsOf("u1"), "step %d", i)
	}
	require.Zero(d.T, runsOf("u2"))
	require.Equal(d.T, u.Rev, reload(d, u).Rev)
	u.Name = "Renamed"
	d.put(u)
	require.Equal(d.T, 3, runsOf("u1").Count, "a Put does not change the runs")
	for i := range domain.MaxUnscannedRuns {
		count(at(100+i), at(100+i))
	}
	require.Equal(d.T, domain.UnscannedRuns{Count: domain.MaxUnscannedRuns, EndedAt: at(99 + domain.MaxUnscannedRuns)}, runsOf("u1"))

	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Users.ResetUnscannedRuns(ctx, "u1") })
	require.Zero(d.T, runsOf("u1"))
	require.Equal(d.T, u.Rev, reload(d, u).Rev)
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Users.CountUnscannedRun(ctx, "nobody", at(1), at(2)), tx.Users.ResetUnscannedRuns(ctx, "nobody"))
	})
	missing(d, func(ctx context.Context, tx *ports.Tx) (domain.UnscannedRuns, error) {
		return tx.Users.UnscannedRuns(ctx, "nobody")
	})
}

func revokeAll(d *db) {
	early := refreshTokenFamily("f0", "u1")
	early.RevokedAt = at(1)
	rows := []*domain.RefreshTokenFamily{early, refreshTokenFamily("f1", "u1"), refreshTokenFamily("f2", "u1"), refreshTokenFamily("f3", "u2")}
	d.put(user("u1"), user("u2"), rows[0], rows[1], rows[2], rows[3])
	revoked := func() (at []time.Time) {
		for _, f := range rows {
			at = append(at, reload(d, f).RevokedAt)
		}
		return at
	}
	revoke := func(except string, at time.Time) {
		d.update(func(ctx context.Context, tx *ports.Tx) error {
			return tx.RefreshTokenFamilies.RevokeAll(ctx, "u1", except, at)
		})
	}
	revoke("f2", at(5).Add(300*time.Nanosecond).In(time.FixedZone("", 3600)))
	require.Equal(d.T, []time.Time{at(1), at(5), {}, {}}, revoked())
	require.ErrorIs(d.T, d.tryPut(rows[1]), ports.ErrConflict, "an earlier read is stale")
	d.put(rows[2])
	revoke("", at(6))
	require.Equal(d.T, []time.Time{at(1), at(5), at(6), {}}, revoked())
}

func familiesOfUser(d *db) {
	d.put(user("u1"), user("u2"))
	for i, id := range []string{"f2", "f0", "f3", "f1", "f4"} {
		f := refreshTokenFamily(id, "u1")
		f.LastUsedAt = at([]int{2, 9, 3, 1, 3}[i])
		if id == "f3" {
			f.RevokedAt = at(4)
		}
		d.put(f)
	}
	d.put(refreshTokenFamily("f9", "u2"))
	ids := func(userID string) (ids []string) {
		for _, f := range read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.RefreshTokenFamily, error) {
			return tx.RefreshTokenFamilies.ByUser(ctx, userID)
		}) {
			require.Equal(d.T, reload(d, f), f)
			ids = append(ids, f.ID)
		}
		return ids
	}
	require.Equal(d.T, []string{"f0", "f4", "f3", "f2", "f1"}, ids("u1"))
	require.Empty(d.T, ids("nobody"))
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.RefreshTokenFamilies.Delete(ctx, "f4"), tx.RefreshTokenFamilies.Delete(ctx, "f4"))
	})
	require.Equal(d.T, []string{"f0", "f3", "f2", "f1"}, ids("u1"))
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.RefreshTokenFamilies.Delete(ctx, "f0"), errOurs)
	})
	require.Equal(d.T, []string{"f0", "f3", "f2", "f1"}, ids("u1"))
}

func deleteExpired(d *db) {
	d.put(user("u1"))
	for i, id := range []string{"f2", "f0", "f3", "f1"} {
		f := refreshTokenFamily(id, "u1")
		f.ExpiresAt = at([]int{2, 0, 3, 1}[i])
		d.put(f)
	}
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		return tx.RefreshTokenFamilies.DeleteExpired(ctx, at(2))
	})
	d.requireGone(refreshTokenFamily("f0", "u1"))
	d.requireGone(refreshTokenFamily("f1", "u1"))
	require.Equal(d.T, at(2), reload(d, refreshTokenFamily("f2", "u1")).ExpiresAt)
	require.Equal(d.T, at(3), reload(d, refreshTokenFamily("f3", "u1")).ExpiresAt)
}

func passwordResets(d *db) {
	reset := func(userID, token string) *domain.PasswordReset {
		return &domain.PasswordReset{UserID: userID, TokenHash: hash(token), ExpiresAt: at(1)}
	}
	d.put(user("u1"), user("u2"), reset("u1", "a"), reset("u2", "b"), reset("u1", "c"))
	byUser := func(userID string) []*domain.PasswordReset {
		return read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.PasswordReset, error) {
			return tx.PasswordResets.ByUser(ctx, userID)
		})
	}
	later := reset("u1", "later")
	later.ExpiresAt = at(2)
	d.put(later)
	require.Len(d.T, byUser("u1"), 3)
	require.Equal(d.T, later, byUser("u1")[0], "the last to expire first")
	require.Equal(d.T, []*domain.PasswordReset{reset("u2", "b")}, byUser("u2"))
	require.Empty(d.T, byUser("none"))
	require.Equal(d.T, later, reload(d, later))
	require.Len(d.T, byUser("u1"), 2, "the others stay")
	for range 2 { // reading consumes nothing
		require.Equal(d.T, reset("u2", "b"), read(d, func(ctx context.Context, tx *ports.Tx) (*domain.PasswordReset, error) {
			return tx.PasswordResets.Get(ctx, hash("b"))
		}))
	}
	require.Equal(d.T, reset("u2", "b"), reload(d, reset("u2", "b")))
	d.requireGone(reset("u2", "b")) // consumed
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.PasswordResets.Consume(ctx, hash("c"))
		return firstError(err, errOurs)
	})
	require.Equal(d.T, reset("u1", "c"), reload(d, reset("u1", "c")), "a rolled-back transaction consumes nothing")
	d.put(reset("u1", "d"), reset("u1", "d"))
	require.Equal(d.T, "u1", reload(d, reset("u1", "d")).UserID)
}

func uniqueKeys(d *db) {
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"), apiKey("k1", "s1", "u1"), apiKey("k2", "s1", "u1"))
	duplicate := apiKey("k3", "s2", "u1")
	duplicate.Hash = hash("k1")
	require.ErrorIs(d.T, d.tryPut(duplicate), ports.ErrExists)
	d.requireGone(duplicate)
	byHash := func(name string) string {
		return read(d, func(ctx context.Context, tx *ports.Tx) (*domain.APIKey, error) {
			return tx.APIKeys.ByHash(ctx, hash(name))
		}).ID
	}
	require.Equal(d.T, "k1", byHash("k1"))
	require.Equal(d.T, "k2", byHash("k2"))
	require.ErrorIs(d.T, d.tryPut(apiKey("k9", "none", "u1")), ports.ErrNotFound, "a key without a session")
}

func keyLists(d *db) {
	d.put(user("u1"), user("u2"), session("s1", "u1"), session("s2", "u1"), session("s3", "u2"))
	for i, k := range []*domain.APIKey{
		apiKey("k3", "s1", "u1"), apiKey("k1", "s2", "u1"), apiKey("k2", "s1", "u1"), apiKey("k4", "s3", "u2"),
	} {
		k.CreatedAt = at([]int{3, 1, 2, 4}[i])
		d.put(k)
	}
	list := func(fn func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error)) (ids []string) {
		for _, k := range read(d, fn) {
			ids = append(ids, k.ID)
		}
		return ids
	}
	require.Equal(d.T, []string{"k3", "k2", "k1"},
		list(func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error) { return tx.APIKeys.ByUser(ctx, "u1") }))
	require.ElementsMatch(d.T, []string{"k3", "k2"},
		list(func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error) {
			return tx.APIKeys.BySession(ctx, "s1")
		}))
	require.Empty(d.T,
		list(func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error) {
			return tx.APIKeys.BySession(ctx, "none")
		}))
}

func keysDeleted(d *db) {
	d.put(user("u1"), session("s1", "u1"), apiKey("k1", "s1", "u1"), apiKey("k2", "s1", "u1"))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.APIKeys.Delete(ctx, "k1") })
	d.requireGone(apiKey("k1", "s1", "u1"))
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.APIKey, error) {
		return tx.APIKeys.ByHash(ctx, hash("k1"))
	})
	require.Len(d.T, read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error) { return tx.APIKeys.ByUser(ctx, "u1") }), 1)
	d.put(apiKey("k1", "s1", "u1")) // the id and the hash are free again
}

func endedKeysDeleted(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	for minute := range 4 {
		expired, revoked := apiKey(fmt.Sprint("e", minute), "s1", "u1"), apiKey(fmt.Sprint("r", minute), "s1", "u1")
		expired.ExpiresAt, revoked.RevokedAt = at(minute), at(minute)
		d.put(expired, revoked)
	}
	d.put(apiKey("live", "s1", "u1"))
	trim := func(ctx context.Context, tx *ports.Tx) error { return tx.APIKeys.DeleteEnded(ctx, at(2)) }
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error { return firstError(trim(ctx, tx), errOurs) })
	ids := func() (ids []string) {
		for _, k := range read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.APIKey, error) {
			return tx.APIKeys.BySession(ctx, "s1")
		}) {
			ids = append(ids, k.ID)
		}
		return ids
	}
	require.Len(d.T, ids(), 9, "rolled back")
	d.update(trim)
	require.ElementsMatch(d.T, []string{"e2", "r2", "e3", "r3", "live"}, ids())
	d.put(apiKey("e0", "s1", "u1")) // its id and hash are free again
	require.ErrorIs(d.T, d.store.View(d.ctx, trim), ports.ErrReadOnly)
}
