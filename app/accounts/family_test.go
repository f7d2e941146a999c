package accounts_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// modelUser, modelFamily and modelAccess model the promises about tokens.
type (
	modelUser struct {
		email, password string
		id              string
		active          bool
		epoch           int // incremented with every change of credentials
		families        []*modelFamily
	}
	modelFamily struct {
		user    *modelUser
		caller  service.Principal
		refresh []string // oldest first; only the last is usable
		access  []modelAccess
		ended   bool
		expires time.Time
	}
	modelAccess struct {
		token   string
		epoch   int
		expires time.Time
	}
)

func (f *modelFamily) usable(now time.Time) bool { return !f.ended && now.Before(f.expires) }

// verdict returns the expected error code for an access token; empty: accepted.
func (f *modelFamily) verdict(a modelAccess, now time.Time) domain.Code {
	switch {
	case !now.Before(a.expires):
		return domain.CodeAuthTokenExpired
	case !f.user.active:
		return domain.CodeAccountDeactivated
	case !f.usable(now) || a.epoch != f.user.epoch:
		return domain.CodeAuthTokenInvalid
	}
	return ""
}

func (f *modelFamily) took(s *service.AuthTokens, now time.Time) {
	f.refresh = append(f.refresh, s.RefreshToken)
	f.access = append(f.access, modelAccess{s.Token, f.user.epoch, now.Add(time.Hour)})
	f.expires = now.Add(30 * 24 * time.Hour)
}

// end ends every token of the user.
func (u *modelUser) end() {
	u.epoch++
	for _, f := range u.families {
		f.ended = true
	}
}

// After any sequence of calls only the newest refresh token of a family is usable,
// and access tokens are accepted exactly as the model says, without delay.
func TestFamilies_RandomCalls_MatchModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		h := newHarness(t)
		passwords := []string{password, other, "tr0ubador&3"}
		var users []*modelUser
		var families []*modelFamily
		for i := range 2 {
			u := &modelUser{email: fmt.Sprintf("u%d@example.com", i), password: password, active: true}
			made, err := h.CreateUser(ctx, "User", u.email, u.password, "", "")
			require.NoError(t, err)
			u.id = made.ID
			users = append(users, u)
		}
		now := func() time.Time { return h.clock.Now() }
		user := func(t *rapid.T) *modelUser { return rapid.SampledFrom(users).Draw(t, "user") }
		family := func(t *rapid.T) *modelFamily {
			if len(families) == 0 {
				t.Skip("nobody has signed in")
			}
			return rapid.SampledFrom(families).Draw(t, "family")
		}
		t.Repeat(map[string]func(*rapid.T){
			"login": func(t *rapid.T) {
				u, pw := user(t), rapid.SampledFrom(passwords).Draw(t, "password")
				h.clock.advance(2 * time.Minute) // below the limit of wrong passwords
				s, err := h.Login(ctx, u.email, pw)
				switch {
				case pw != u.password:
					require.Equal(t, domain.CodeInvalidCredentials, domain.CodeOf(err))
				case !u.active:
					require.Equal(t, domain.CodeAccountDeactivated, domain.CodeOf(err))
				default:
					require.NoError(t, err)
					f := &modelFamily{user: u}
					f.took(s, now())
					f.caller, err = h.Authenticate(ctx, s.Token)
					require.NoError(t, err)
					u.families, families = append(u.families, f), append(families, f)
				}
			},
			"refresh": func(t *rapid.T) {
				f := family(t)
				i := rapid.IntRange(0, len(f.refresh)-1).Draw(t, "token")
				if rapid.Bool().Draw(t, "newest") {
					i = len(f.refresh) - 1
				}
				s, err := h.Refresh(ctx, f.refresh[i])
				want := domain.Code("")
				switch newest := i == len(f.refresh)-1; {
				case !newest:
					want = domain.CodeAuthTokenInvalid
					f.ended = f.ended || f.usable(now())
				case !f.user.active:
					want = domain.CodeAccountDeactivated
				case f.ended:
					want = domain.CodeAuthTokenInvalid
				case !f.usable(now()):
					want = domain.CodeAuthTokenExpired
				}
				require.Equal(t, want, domain.CodeOf(err))
				if err == nil {
					f.took(s, now())
				}
			},
			"logout": func(t *rapid.T) {
				f := family(t)
				require.NoError(t, h.Logout(ctx, f.caller))
				f.ended = true
			},
			"change password": func(t *rapid.T) {
				f, pw := family(t), rapid.SampledFrom(passwords).Draw(t, "password")
				err := h.ChangePassword(ctx, f.caller, f.user.password, pw)
				if !f.user.active {
					require.Equal(t, domain.CodeAccountDeactivated, domain.CodeOf(err))
					return
				}
				require.NoError(t, err)
				f.user.password = pw
				f.user.end()
			},
			"reset password": func(t *rapid.T) {
				u, pw := user(t), rapid.SampledFrom(passwords).Draw(t, "password")
				h.clock.advance(5 * time.Minute) // below the limit of mails
				mails := h.mailer.count()
				require.NoError(t, h.ForgotPassword(ctx, u.email))
				require.Equal(t, u.active, h.mailer.count() > mails)
				if u.active {
					require.NoError(t, h.ResetPassword(ctx, h.mailer.token(), pw))
					u.password = pw
					u.end()
				}
			},
			"deactivate": func(t *rapid.T) {
				f := family(t)
				err := h.Deactivate(ctx, f.caller, f.user.password)
				if !f.user.active {
					require.Equal(t, domain.CodeAccountDeactivated, domain.CodeOf(err))
					return
				}
				require.NoError(t, err)
				f.user.active = false
				f.user.end()
			},
			"activate": func(t *rapid.T) {
				u := user(t)
				_, err := h.Update(ctx, u.id, service.UserChange{Active: &yes})
				require.NoError(t, err)
				if !u.active {
					u.active = true
					u.epoch++
				}
			},
			"time": func(t *rapid.T) {
				h.clock.advance(rapid.SampledFrom([]time.Duration{
					time.Millisecond, time.Second, 10 * time.Minute, time.Hour, 29 * 24 * time.Hour, 31 * 24 * time.Hour,
				}).Draw(t, "passes"))
			},
			"": func(t *rapid.T) {
				for _, f := range families {
					for _, a := range f.access {
						c, err := h.Authenticate(ctx, a.token)
						require.Equal(t, f.verdict(a, now()), domain.CodeOf(err))
						if err == nil {
							require.Equal(t, f.caller, c)
						}
					}
				}
			},
		})
	})
}
