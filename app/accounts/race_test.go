package accounts_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// racing runs a test on the memory store, which runs one Update at a time, and on
// the weakest store that meets the contract.
func racing(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Run("memory", func(t *testing.T) {
		h := newHarness(t)
		h.passwords.busy = true
		test(t, h)
	})
	t.Run("weak", func(t *testing.T) {
		h := newHarness(t)
		h.passwords.busy = true
		weak := &weakStore{Store: h.store.Store, pause: runtime.Gosched}
		h.store.AroundUpdate = weak.runUpdate
		test(t, h)
	})
}

// atOnce runs functions concurrently and returns their errors.
func atOnce(fns ...func() error) []error {
	errs := make([]error, len(fns))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() {
			<-start
			errs[i] = fn()
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func times(n int, fn func() error) []func() error {
	fns := make([]func() error, n)
	for i := range fns {
		fns[i] = fn
	}
	return fns
}

// codes counts errors by code; "" counts successes.
func codes(errs []error) map[domain.Code]int {
	n := make(map[domain.Code]int)
	for _, err := range errs {
		n[domain.CodeOf(err)]++
	}
	return n
}

func TestRegister_ConcurrentSameEmail_OneSucceeds(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		errs := atOnce(times(16, func() error {
			_, err := h.Register(t.Context(), "Ann", "ann@example.com", password)
			return err
		})...)
		require.Equal(t, map[domain.Code]int{"": 1, domain.CodeEmailRegistered: 15}, codes(errs))
		_, total, err := h.List(t.Context(), ports.UserFilter{}, ports.Page{})
		require.NoError(t, err)
		require.Equal(t, 1, total)
	})
}

func TestRefresh_ConcurrentSameToken_OneSucceeds(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		for _, name := range []string{"ann", "bob", "cid"} {
			p := h.register(name)
			var mu sync.Mutex
			var won []*service.AuthTokens
			errs := atOnce(times(16, func() error {
				s, err := h.Refresh(t.Context(), p.RefreshToken)
				if err == nil {
					mu.Lock()
					won = append(won, s)
					mu.Unlock()
				}
				return err
			})...)
			require.Equal(t, map[domain.Code]int{"": 1, domain.CodeAuthTokenInvalid: 15}, codes(errs))
			// The others reused the token. That revoked the winner's family.
			_, err := h.Refresh(t.Context(), won[0].RefreshToken)
			h.refused(err, domain.CodeAuthTokenInvalid)
			_, err = h.Authenticate(t.Context(), won[0].Token)
			h.refused(err, domain.CodeAuthTokenInvalid)
		}
	})
}

func TestLogin_Concurrent_AllSucceed(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		h.register("ann")
		errs := atOnce(times(12, func() error {
			s, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "ann@example.com", password)
			if err == nil {
				_, err = h.Authenticate(t.Context(), s.Token)
			}
			return err
		})...)
		require.Equal(t, map[domain.Code]int{"": 12}, codes(errs), "successes do not limit each other")
	})
}

func TestLogin_ConcurrentGuesses_AreLimited(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		h.register("ann")
		errs := atOnce(times(32, func() error {
			_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "ann@example.com", other)
			return err
		})...)
		require.Equal(t, map[domain.Code]int{domain.CodeInvalidCredentials: 10, domain.CodeRateLimit: 22}, codes(errs))
	})
}

// A right password does not count if ten wrong ones were counted first.
func TestLogin_RightAfterTooManyWrong_IsRefused(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	h.passwords.hook = func() {
		h.passwords.hook = nil
		for range 10 {
			_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "ann@example.com", other)
			h.refused(err, domain.CodeInvalidCredentials)
		}
	}
	_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "ann@example.com", password)
	h.refused(err, domain.CodeRateLimit)
}

// A reset that is mailed to the former address while the email changes does not work.
func TestForgotPassword_EmailChangesMeanwhile_FormerAddressGetsNoToken(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		for i := range 20 {
			ann := h.register(fmt.Sprint("ann", i))
			email := fmt.Sprintf("new%d@example.com", i)
			atOnce(
				func() error { return h.ForgotPassword(t.Context(), ann.email) },
				func() error {
					_, err := h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Email: &email, CurrentPassword: password})
					return err
				},
			)
			require.Equal(t, ann.UserID, h.row(email).ID)
			for _, mail := range h.mailer.mails {
				if mail.To == ann.email && tokenIn(mail) != "" {
					require.Equal(t, []string{"token"}, h.fields(h.ResetPassword(t.Context(), tokenIn(mail), other)))
				}
			}
		}
	})
}

func TestResetPassword_ConcurrentSameToken_OneSucceeds(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		ann := h.register("ann")
		require.NoError(t, h.ForgotPassword(t.Context(), ann.email))
		token := h.mailer.token()
		errs := atOnce(times(8, func() error { return h.ResetPassword(t.Context(), token, other) })...)
		require.Equal(t, map[domain.Code]int{"": 1, domain.CodeValidation: 7}, codes(errs))
		h.login(ann.email, other)
	})
}

func TestChangePassword_Concurrent_OneSucceeds(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		ann := h.register("ann")
		errs := atOnce(times(8, func() error { return h.ChangePassword(t.Context(), ann.Principal, password, other) })...)
		n := codes(errs)
		require.Equal(t, 1, n[""], n)
		require.Equal(t, 7, n[domain.CodeInvalidCredentials], n)
	})
}

// Every sign-in and refresh that overlaps a change of password has ended
// afterwards, unless it used the new password.
func TestChangePassword_ConcurrentSignIns_HaveEnded(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		for i := range 8 {
			here := h.register(fmt.Sprint("ann", i))
			there := h.login(here.email, password)
			var mu sync.Mutex
			got := []*service.AuthTokens{&here.AuthTokens, &there.AuthTokens}
			keep := func(s *service.AuthTokens, err error) error {
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					got = append(got, s)
				}
				return err
			}
			login := func() error { return keep(h.Login(t.Context(), here.email, password)) }
			errs := atOnce(
				login,
				func() error { return h.ChangePassword(t.Context(), here.Principal, password, other) },
				func() error { return keep(h.Refresh(t.Context(), there.RefreshToken)) },
				login,
			)
			require.NoError(t, errs[1])
			for _, s := range got {
				_, err := h.Authenticate(t.Context(), s.Token)
				h.refused(err, domain.CodeAuthTokenInvalid)
				_, err = h.Refresh(t.Context(), s.RefreshToken)
				h.refused(err, domain.CodeAuthTokenInvalid)
			}
		}
	})
}

// The password was changed after the comparison.
func TestDeactivate_PasswordChangedMeanwhile_IsRefused(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	h.passwords.hook = func() {
		h.passwords.hook = nil
		require.NoError(t, h.SetPassword(t.Context(), ann.email, other))
	}
	h.refused(h.Deactivate(t.Context(), ann.Principal, password), domain.CodeInvalidCredentials)
	require.True(t, h.row(ann.email).Active)
}

// Two administrators who demote each other concurrently leave one administrator.
func TestUpdate_AdministratorsDemoteEachOther_OneRemains(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		one := h.administrator()
		role, user := domain.RoleAdministrator, domain.RoleUser
		two := h.register("two")
		for range 20 {
			for _, p := range []*person{one, two} {
				_, err := h.Update(t.Context(), p.UserID, service.UserChange{Role: &role, Active: &yes})
				require.NoError(t, err)
			}
			errs := atOnce(
				func() error {
					_, err := h.Update(t.Context(), one.UserID, service.UserChange{Role: &user})
					return err
				},
				func() error {
					_, err := h.Update(t.Context(), two.UserID, service.UserChange{Active: &no})
					return err
				},
			)
			require.Equal(t, map[domain.Code]int{"": 1, domain.CodeInvalidState: 1}, codes(errs))
		}
	})
}

func TestEnsureAdministrator_Concurrent_CreatesOne(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		var mu sync.Mutex
		var passwords []string
		errs := atOnce(times(8, func() error {
			elsewhere, err := accounts.New(h.config())
			if err != nil {
				return err
			}
			u, generated, err := elsewhere.EnsureAdministrator(t.Context(), "admin@localhost", "")
			if u != nil {
				mu.Lock()
				passwords = append(passwords, generated)
				mu.Unlock()
			}
			return err
		})...)
		require.Equal(t, map[domain.Code]int{"": 8}, codes(errs))
		require.Len(t, passwords, 1, "and one password to show")
		h.login("admin@localhost", passwords[0])
	})
}

// Concurrent logouts and authentications, for the race detector. A user who has
// logged out is not authenticated.
func TestLogout_ConcurrentAuthentications_IsEffective(t *testing.T) {
	racing(t, func(t *testing.T, h *harness) {
		ann := h.register("ann")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					h.clock.advance(time.Millisecond)
					_, _ = h.Authenticate(ctx, ann.Token)
				}
			})
		}
		for range 20 {
			p := h.login(ann.email, password)
			if err := h.Logout(t.Context(), p.Principal); err != nil {
				t.Error(err)
			}
			if _, err := h.Authenticate(t.Context(), p.Token); err == nil {
				t.Error("is still in")
			}
		}
		cancel()
		wg.Wait()
	})
}
