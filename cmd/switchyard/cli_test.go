package main_test

import (
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The help fits a screen and shows the defaults of the contract.
func TestHelp_EachCommand_FitsScreenAndShowsDefaults(t *testing.T) {
	t.Parallel()
	defaults := map[string]string{
		"--addr": "127.0.0.1:8000", "--store": "sqlite:switchyard.db", "--fabric": "in process", "--migrate": "true",
		"--secrets-file": "beside the SQLite file", "--worker-token": "generated", "--jwt-secret": "generated", "--admin-email": "admin@localhost",
		"--admin-password": "generated", "--simulated-workers": "0", "--heartbeat-interval": "30s",
		"--probe-interval": "5s", "--lease": "45s", "--failover-delay": "5s", "--home-wait": "10m", "--outcome-timeout": "1h", "--send-pace": "0", "--audit-retention": "90d", "--registration": "open",
		"--allow-private-workers": "true", "--allow-private-media": "false",
		"--event-retention": "7d", "--message-retention": "BASIC=30d,PRO=90d,MAX=365d",
		"--cors-origin": "none", "--trusted-proxies": "none", "--tls-cert": "none", "--tls-key": "none",
		"--log-level": "info", "--log-format": "text", "--rate-limits": "tier defaults", "--unscanned-per-user": "as the tier",
		"--unscanned-per-address": "loopback exempt; 0: no limit (20)", "--unscanned-cooldown": "30s", "--unscanned-reclaim": "1m", "--config": "",
	}
	workerDefaults := map[string]string{
		"--simulated": "", "--id": "", "--addr": "127.0.0.1:0", "--control-plane": "http://127.0.0.1:8000", "--token": "",
		"--max-sessions": "50", "--state": "", "--scan-after": "2s", "--latency": "", "--fail-rate": "", "--legacy": "",
		"--endpoint": "the listener's",
	}
	for command, c := range map[string]struct {
		lines int
		flags map[string]string
	}{
		"serve": {56, defaults}, "worker": {24, workerDefaults}, "demo": {24, nil}, "version": {24, nil},
		"migrate": {24, map[string]string{"--store": "sqlite:switchyard.db"}},
		"user":    {24, map[string]string{"--store": "sqlite:switchyard.db"}},
		"token":   {24, map[string]string{"--store": "sqlite:switchyard.db", "--secrets-file": "beside the SQLite file"}},
		"openapi": {24, map[string]string{"--format": "json"}},
		"":        {24, nil},
	} {
		r := run(t, t.TempDir(), nil, "", strings.Fields(command+" --help")...)
		assert.Zero(t, r.code, command)
		help := r.out + r.err
		lines := strings.Split(strings.TrimRight(help, "\n"), "\n")
		assert.LessOrEqual(t, len(lines), c.lines, "%s", help)
		for _, line := range lines {
			assert.LessOrEqual(t, utf8.RuneCountInString(line), 100, "%s: %s", command, line)
		}
		assert.Contains(t, help, "Usage: switchyard")
		for flag, standard := range c.flags {
			// The text of a flag may continue on the next line after spaces.
			entry := regexp.MustCompile(`(?m)^ +` + flag + `\b.*(\n {10,}.*)?`).FindString(help)
			assert.NotEmpty(t, entry, "%s says nothing of %s", command, flag)
			assert.Contains(t, entry, standard, "%s %s", command, flag)
		}
		if command == "" {
			for _, name := range []string{"serve", "worker", "demo", "migrate", "user", "token", "openapi", "version"} {
				assert.Contains(t, help, name)
			}
		}
	}
}

// A bad configuration reports every problem on stderr and exits with 2, without
// any effect.
func TestConfiguration_Bad_ReportsEveryProblem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line string
		env  []string
		want []string
	}{
		{"serve --addr nowhere --store bogus: --fabric carrier-pigeon: --jwt-secret short --heartbeat-interval soon --lease -1s " +
			"--simulated-workers many --migrate=perhaps --admin-email nobody --admin-password weak --tls-cert only.pem " +
			"--trusted-proxies everybody --rate-limits {} --log-level loud --log-format xml --cors-origin nonsense", nil,
			[]string{"--addr", "--store", "--fabric", "--jwt-secret", "--heartbeat-interval", "--lease", "--simulated-workers",
				"--migrate", "--admin-email", "--admin-password", "--tls-cert", "--trusted-proxies", "--log-level", "--log-format", "--cors-origin"}},
		{"serve", []string{"SWITCHYARD_ADDR=nowhere", "SWITCHYARD_PROBE_INTERVAL=soon", "SWITCHYARD_STORE=bogus:"}, []string{"addr", "probe-interval", "store"}},
		{"serve --addr :abc --smtp smtp://h:99999 --mail-from nobody --reset-url page --tls-cert none.pem --tls-key none.pem", nil,
			[]string{`--addr: "abc" is no port`, `--smtp: "99999" is no port`, "--mail-from", "--reset-url", "--tls-cert", "none.pem"}},
		{"serve --addr 127.0.0.1:65536", nil, []string{`--addr: "65536" is no port`}},
		{"serve --jwt-secret-file none.txt --worker-token-file .", nil, []string{"--jwt-secret-file", "none.txt", "--worker-token-file"}},
		{"serve --smtp smtp://h --smtp-file x", nil, []string{"--smtp and --smtp-file: give one of them"}},
		{"worker --simulated --token-file none.txt --addr :-1", nil, []string{"--token-file", `--addr: "-1" is no port`}},
		{"serve --jwt-secret aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa --worker-token 0123456789abcdef0123456789abcde --secrets-file .", nil,
			[]string{"--jwt-secret must not be one character repeated", "--worker-token must have at least 32 bytes", "--secrets-file"}},
		{"serve --no-such-flag", nil, []string{"--no-such-flag is not a flag of serve"}},
		{"serve --addr nowhere --no-such-flag word --store bogus:", nil, []string{"--addr", "--no-such-flag is not a flag of serve", "bogus:"}},
		{"serve --store", nil, []string{"--store needs a value"}},
		{"serve --unscanned-per-user -1 --simulated-workers -2", nil, []string{"--unscanned-per-user", "--simulated-workers", "is negative"}},
		{"serve --simulated-workers 1 --allow-private-workers=false", nil, []string{"--simulated-workers", "--allow-private-workers=false"}},
		{"serve --lease 1s --heartbeat-interval 1s", nil, []string{"--lease (1s) must be longer than --heartbeat-interval (1s)"}},
		{"serve --event-retention 7weeks --message-retention 5", nil, []string{"--event-retention", "--message-retention"}},
		{"serve --message-retention GOLD=5d", nil, []string{"--message-retention", `"GOLD" is no tier`}},
		{"serve --message-retention MAX=5m", nil, []string{"--message-retention must be at least 2h"}},
		{"serve --send-pace 6001", nil, []string{"--send-pace must be between 0 and 6000 messages a minute"}},
		{"serve --outcome-timeout 30s", nil, []string{"--outcome-timeout must be between 1m0s and 24h0m0s"}},
		{"serve --outcome-timeout 2d", nil, []string{"--outcome-timeout must be between 1m0s and 24h0m0s"}},
		{"serve --rate-limits {}{}", nil, []string{"--rate-limits", "nothing after it"}},
		{"serve --rate-limits {}]", nil, []string{"--rate-limits", "nothing after it"}},
		{"serve word", nil, []string{"word"}},
		{"serve --config missing.conf", nil, []string{"--config", "missing.conf"}},
		{"serve --config .", nil, []string{"--config"}},
		{"worker --simulated --token x --endpoint w1:81 --control-plane ftp://x", nil, []string{"--endpoint must be", "--control-plane must be"}},
		{"worker --simulated --token x --max-sessions 0 --latency 0s", nil, []string{"--max-sessions must be between 1 and 1000"}},
		{"worker --simulated --addr nowhere --id @@", nil, []string{"--addr must be HOST:PORT", "--id: Worker ID must be", "--token"}},
		{"version extra", nil, []string{"extra"}},
		{"user set-tier --email a@example.com", nil, []string{"--tier is required"}},
		{"user --no-such-flag create --email a@example.com", nil, []string{"--no-such-flag is not a flag of user"}},
		{"worker --max-sessions none --latency long --fail-rate 7", nil, []string{"--simulated", "--token", "--max-sessions", "--latency", "--fail-rate"}},
		{"migrate", nil, []string{"up", "status"}},
		{"migrate sideways --store bogus: --no-such-flag", nil, []string{"up", "status", "bogus:", "no-such-flag"}},
		{"user", nil, []string{"create", "--email"}},
		{"user rename --store bogus: --admin=perhaps", nil, []string{"rename", "--email", "bogus:", "--admin"}},
		{"user create --email nobody --name A --password weak --tier GOLD --store sqlite:users.db", nil, []string{"email", "name", "password", "tier"}},
		{"token word --store bogus:", nil, []string{"word", "bogus:"}},
		{"no-such-command", nil, []string{"no-such-command"}},
		{"", nil, nil},
	} {
		dir := t.TempDir()
		if strings.Contains(c.line, "users.db") {
			require.Zero(t, run(t, dir, nil, "", "migrate", "up", "--store", "sqlite:users.db").code)
		}
		r := run(t, dir, c.env, "", strings.Fields(c.line)...)
		assert.Equal(t, 2, r.code, "%s\n%s%s", c.line, r.out, r.err)
		for _, want := range c.want {
			assert.Contains(t, r.err, want, c.line)
		}
		assert.NoFileExists(t, filepath.Join(dir, "switchyard.db"), c.line)
	}
}

// Correct parts of a command line are not reported as problems.
func TestUsage_UnknownFlag_ReportsOnlyProblems(t *testing.T) {
	t.Parallel()
	for line, not := range map[string]string{
		"serve --no-such-flag word --addr 127.0.0.1:0":                 `"word"`,
		"user --no-such-flag create --email a@example.com":             "say one of",
		"migrate --no-such-flag up":                                    "say either",
		"worker --simulated --token x --max-sessions none":             "between",
		"worker --simulated --token x --max-sessions 0 --latency 0s":   "latency",
		"serve --simulated-workers many --allow-private-workers=false": "refuses",
	} {
		r := run(t, t.TempDir(), nil, "", strings.Fields(line)...)
		assert.Equal(t, 2, r.code, line)
		assert.NotContains(t, r.err, not, line)
		assert.Equal(t, 1, strings.Count(r.err, "\n")-1, "%s: one problem and where to look: %s", line, r.err)
	}
}

// A file may serve several commands. A key that no command knows is a problem.
func TestConfigFile_UnknownKey_IsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "s.conf"), []byte(text), 0o600))
	}
	write("probe-interval 1s\nscan-after never\nSWITCHYARD_TIER MAX\nemail a@example.com\n")
	r := run(t, dir, []string{"SWITCHYARD_SOMETHING=else"}, "", "migrate", "status", "--config", "s.conf")
	assert.Zero(t, r.code, r.err)
	write("stroe sqlite:other.db\nprobe-intervall 1s\n")
	r = run(t, dir, nil, "", "migrate", "up", "--config", "s.conf")
	assert.Equal(t, 2, r.code, r.err)
	for _, want := range []string{"--config", "s.conf", `"stroe"`, `"probe-intervall"`} {
		assert.Contains(t, r.err, want)
	}
	assert.NoFileExists(t, filepath.Join(dir, "switchyard.db"))
}

// Commands that need the store of a server do not create one.
func TestCommands_NoStore_CreateNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, line := range []string{"token", "user set-tier --email a@example.com --tier MAX"} {
		r := run(t, dir, nil, "", strings.Fields(line)...)
		assert.Equal(t, 1, r.code, line)
		assert.Contains(t, r.err, "start the server first", line)
		assert.NoFileExists(t, filepath.Join(dir, "switchyard.db"), line)
	}
}

// A failing first start does not lose the generated password.
func TestServe_FirstStartFails_PasswordIsKept(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dir := t.TempDir()
	taken := run(t, dir, nil, "", "serve", "--addr", l.Addr().String())
	assert.Equal(t, 1, taken.code, taken.err)
	assert.Contains(t, taken.err, "--addr")
	assert.NotContains(t, taken.out, "password")
	// A file blocks the directory of the simulated workers.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "switchyard.db.simulated"), []byte("x"), 0o600))
	broken := run(t, dir, nil, "", "serve", "--addr", "127.0.0.1:0", "--simulated-workers", "1")
	assert.Equal(t, 1, broken.code, broken.err)
	assert.Regexp(t, `(?m)^ +password +\S+$`, broken.out)
}

// Flags override the environment, which overrides the file and the defaults.
func TestConfiguration_Precedence_FlagEnvironmentFileDefault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("switchyard.conf", "# where the data is\nstore sqlite:file.db\nlog-level debug\n")
	env := "SWITCHYARD_STORE=sqlite:env.db"
	file := []string{"--config", "switchyard.conf"}
	made := make(map[string]bool)
	for _, c := range []struct {
		want string
		env  []string
		args []string
	}{
		{"switchyard.db", nil, nil},
		{"file.db", nil, file},
		{"env.db", []string{env}, file},
		{"flag.db", []string{env}, append([]string{"--store", "sqlite:flag.db"}, file...)},
	} {
		r := run(t, dir, c.env, "", append([]string{"migrate", "up"}, c.args...)...)
		require.Zero(t, r.code, r.err)
		made[c.want] = true
		for _, name := range []string{"switchyard.db", "file.db", "env.db", "flag.db"} {
			_, err := os.Stat(filepath.Join(dir, name))
			assert.Equal(t, made[name], err == nil, "%s, when %s was meant", name, c.want)
		}
	}
	write("second.conf", "store sqlite:second.db\n")
	r := run(t, dir, []string{"SWITCHYARD_CONFIG=second.conf"}, "", "migrate", "up")
	require.Zero(t, r.code, r.err)
	assert.FileExists(t, filepath.Join(dir, "second.db"))
}

func TestMigrate_UpAndStatus_ReportVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	status := func() string {
		r := run(t, dir, nil, "", "migrate", "status")
		require.Zero(t, r.code, r.err)
		return r.out
	}
	assert.NotContains(t, status(), "up to date")
	unready := run(t, dir, nil, "", "serve", "--migrate=false", "--addr", "127.0.0.1:0")
	assert.Equal(t, 1, unready.code, unready.err)
	assert.Contains(t, unready.err, "migrate")
	for range 2 {
		r := run(t, dir, nil, "", "migrate", "up")
		require.Zero(t, r.code, r.err)
	}
	assert.Contains(t, status(), "up to date")
	p := spawn(t, dir, nil, "serve", "--migrate=false", "--addr", "127.0.0.1:0")
	waitFor(t, "it serves", func() (bool, any) { return listening.MatchString(p.out.String()), p.err.String() })
	p.signal(os.Interrupt)
	assert.Zero(t, p.exit())
}

func TestVersion_Command_PrintsVersion(t *testing.T) {
	t.Parallel()
	r := run(t, t.TempDir(), nil, "", "version")
	assert.Zero(t, r.code)
	assert.Regexp(t, `^switchyard \S+\n$`, r.out)
	help := run(t, t.TempDir(), nil, "", "version", "--help")
	assert.Contains(t, help.out, "Usage: switchyard version")
	assert.Empty(t, help.err)
	serve := run(t, t.TempDir(), nil, "", "help", "serve")
	assert.Zero(t, serve.code)
	assert.Equal(t, run(t, t.TempDir(), nil, "", "serve", "--help").out, serve.out)
	assert.Equal(t, 2, run(t, t.TempDir(), nil, "", "help", "nothing").code)
}

// The command user changes users of a running server.
func TestUser_RunningServer_SeesChanges(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := func(stdin string, args ...string) result {
		return run(t, s.dir, []string{"SWITCHYARD_STORE=sqlite:switchyard.db"}, stdin, append([]string{"user"}, args...)...)
	}
	r := user(password+"\n", "create", "--email", "Cli@example.com", "--name", "Somebody", "--tier", "pro")
	require.Zero(t, r.code, r.err)
	assert.Empty(t, r.err, "no log")
	assert.NotContains(t, r.out+r.err, password)
	p := s.login("cli@example.com", password)
	assert.Equal(t, "PRO", p.get("/users/tier").str("data.tier"))
	again := user("", "create", "--email", "cli@example.com", "--name", "Somebody", "--password", password)
	assert.Equal(t, 1, again.code)
	assert.NotEmpty(t, again.err)

	require.Zero(t, user("", "set-tier", "--email", "cli@example.com", "--tier", "MAX").code)
	waitFor(t, "the server notices the tier", func() (bool, any) {
		a := p.get("/users/tier")
		return a.str("data.tier") == "MAX", a
	})
	assert.NotZero(t, user("", "set-tier", "--email", "cli@example.com", "--tier", "GOLD").code)
	assert.Equal(t, 1, user("", "set-tier", "--email", "unknown@example.com", "--tier", "MAX").code)

	require.Zero(t, user(nextPassword+"\n", "set-password", "--email", "cli@example.com").code)
	waitFor(t, "the old sign-in has ended", func() (bool, any) {
		a := p.do("GET", "/auth/me", nil)
		return a.status == http.StatusUnauthorized, a
	})
	s.login("cli@example.com", nextPassword)
	require.Zero(t, user("", "create", "--email", "boss@example.com", "--name", "Boss", "--password", password, "--admin").code)
	s.login("boss@example.com", password).get("/admin/users")
}

// Secrets that are not configured are generated once and kept.
func TestServe_NoSecrets_GeneratesAndKeepsThem(t *testing.T) {
	t.Parallel()
	s := serve(t, "--worker-token", "", "--admin-password", "")
	first := s.out.String()
	assert.Contains(t, first, "sqlite:switchyard.db")
	assert.Contains(t, first, "admin@localhost")
	printed := regexp.MustCompile(`(?m)^ +password +(\S+)$`).FindStringSubmatch(first)
	require.NotNil(t, printed, first)
	secret := printed[1]
	assert.Equal(t, 1, strings.Count(first, secret))
	file := filepath.Join(s.dir, "switchyard.db.secrets")
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	assert.NotContains(t, s.err.String(), secret)
	admin := s.login(adminEmail, secret)
	r := run(t, s.dir, nil, "", "token")
	require.Zero(t, r.code, r.err)
	token := strings.TrimSpace(r.out)
	assert.GreaterOrEqual(t, len(token), 32)
	assert.NotContains(t, first+s.err.String(), token)
	n := newNode(s, "Node", withToken(token))
	s.with(fleetToken).refused(http.StatusUnauthorized, "AUTH_TOKEN_INVALID", "POST", "/workers/register", obj{})

	s.stop()
	s.startAgain()
	assert.NotContains(t, s.out.String()+s.err.String(), secret, "it is printed once")
	admin.get("/auth/me")
	s.login(adminEmail, secret)
	assert.Equal(t, token, strings.TrimSpace(run(t, s.dir, nil, "", "token").out))
	waitFor(t, "the worker is heard of", func() (bool, any) {
		a := admin.get("/workers/" + n.canonical)
		return a.str("data.status") == "ONLINE", a
	})
}

func TestServe_FirstRunWithRegistrationClosed_SuggestsToCreateAUser(t *testing.T) {
	t.Parallel()
	first := serve(t, "--registration", "closed").out.String()
	assert.Contains(t, first, "switchyard user create")
	assert.NotContains(t, first, "auth/register")
}

// A first run prints the administrator and what to try next. It does not print a
// password that was given.
func TestServe_FirstRun_PrintsAdministrator(t *testing.T) {
	t.Parallel()
	s := serve(t, "--admin-email", "boss@example.com")
	first := s.out.String()
	assert.Contains(t, first, "boss@example.com")
	assert.Contains(t, first, "Try next")
	assert.NotContains(t, first, adminPassword)
	s.login("boss@example.com", adminPassword)
	s.stop()
	s.startAgain()
	assert.NotContains(t, s.out.String(), "boss@example.com")
	assert.NotContains(t, s.out.String(), "Try next")
}

// The first signal finishes the calls in flight. The second ends the process at once.
func TestServe_Signals_EndGracefullyThenAtOnce(t *testing.T) {
	t.Parallel()
	type outcome struct {
		answer
		err error
	}
	// inFlight starts a send and waits until it has reached the worker.
	inFlight := func(s *server) (release func(), done chan outcome) {
		n := newNode(s, "Node")
		line := s.register().create("Line")
		line.link(n)
		release = n.hold()
		t.Cleanup(release)
		done = make(chan outcome, 1)
		go func() {
			a, err := line.byKey().call("POST", "/sendText", obj{"to": someone, "message": "in flight"})
			done <- outcome{a, err}
		}()
		waitFor(t, "the send is at the worker", func() (bool, any) { return n.entered.Load() == 1, nil })
		return release, done
	}
	ready := func(s *server) bool {
		resp, err := http.Get(s.url + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	t.Run("first signal ends gracefully", func(t *testing.T) {
		t.Parallel()
		s := serve(t)
		release, done := inFlight(s)
		s.signal(syscall.SIGTERM)
		waitFor(t, "it is not ready", func() (bool, any) { return !ready(s), nil })
		assert.True(t, s.running(), "something is in flight")
		release()
		o := <-done
		require.NoError(t, o.err)
		assert.Equal(t, http.StatusOK, o.status, o.answer)
		assert.Zero(t, s.exit())
	})
	t.Run("second signal ends at once", func(t *testing.T) {
		t.Parallel()
		s := serve(t)
		_, done := inFlight(s)
		s.signal(syscall.SIGTERM)
		waitFor(t, "it is not ready", func() (bool, any) { return !ready(s), nil })
		began := time.Now()
		s.signal(syscall.SIGTERM)
		assert.NotZero(t, s.exit())
		assert.Less(t, time.Since(began), 5*time.Second)
		<-done
	})
}

// SIGHUP re-reads the log level and the limits.
func TestServe_SIGHUP_AppliesLogLevelAndLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := filepath.Join(dir, "switchyard.conf")
	require.NoError(t, os.WriteFile(conf, []byte("log-level error\n"), 0o600))
	s := serve(t, "--config", conf)
	user := s.register()
	assert.NotContains(t, s.err.String(), `"INFO"`)
	assert.EqualValues(t, 100, user.get("/users/tier").at("data.limits.messagesPerHour"))

	require.NoError(t, os.WriteFile(conf, []byte(`log-level info
rate-limits {"BASIC":{"messagesPerHour":7}}
`), 0o600))
	s.signal(syscall.SIGHUP)
	waitFor(t, "the limit is the new one", func() (bool, any) {
		a := user.get("/users/tier")
		return a.at("data.limits.messagesPerHour") == 7.0, a
	})
	user.post("/auth/logout", nil)
	waitFor(t, "the log says more", func() (bool, any) { return strings.Contains(s.err.String(), `"INFO"`), nil })
}

// Simulated workers run in the process of the server and in one of their own.
func TestWorker_Simulated_ServesSessions(t *testing.T) {
	t.Parallel()
	s := serve(t, "--simulated-workers", "2")
	admin := s.admin()
	waitFor(t, "two workers are there", func() (bool, any) {
		a := admin.get("/workers/statistics")
		return a.at("data.workers.online") == 2.0, a
	})
	for _, w := range admin.get("/workers").list("data.workers") {
		admin.post("/workers/"+text(w, "id")+"/drain", nil)
	}
	state := t.TempDir()
	p := spawn(t, s.dir, []string{"SWITCHYARD_TOKEN=" + fleetToken}, "worker", "--simulated", "--id", "Outside", "--state", state,
		"--control-plane", s.url, "--scan-after", "100ms")
	waitFor(t, "the third is there", func() (bool, any) {
		a := admin.do("GET", "/workers/outside", nil)
		return a.str("data.status") == "ONLINE", a
	})
	line := s.register().create("Line")
	line.post(line.path("/connect"), nil)
	assert.Equal(t, "outside", line.await("CONNECTED").str("data.workerId"))
	sent := line.say("by the simulator")
	p.signal(syscall.SIGTERM)
	assert.Zero(t, p.exit(), p.err.String())
	var journal strings.Builder
	require.NoError(t, filepath.WalkDir(state, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		journal.Write(b)
		return err
	}))
	for _, evidence := range []string{line.id, sent.str("data.messageId"), "start"} {
		assert.Contains(t, journal.String(), evidence)
	}
}

// The demonstration shows the whole journey.
func TestDemo_Run_ShowsJourney(t *testing.T) {
	t.Parallel()
	r := run(t, t.TempDir(), nil, "", "demo")
	assert.Zero(t, r.code, fmt.Sprint(r.out, r.err))
	assert.NotEmpty(t, r.out)
}

// A secrets file that others can read is refused, by every command that reads it.
func TestSecretsFile_OpenToOthers_IsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, "--worker-token", "")
	token := strings.TrimSpace(run(t, s.dir, nil, "", "token").out)
	s.stop()
	require.NoError(t, os.Chmod(filepath.Join(s.dir, "switchyard.db.secrets"), 0o640))
	for line, code := range map[string]int{"serve --addr 127.0.0.1:0": 2, "token": 2} {
		r := run(t, s.dir, nil, "", strings.Fields(line)...)
		assert.Equal(t, code, r.code, line)
		assert.Contains(t, r.err, "chmod 600 switchyard.db.secrets")
		assert.NotContains(t, r.out+r.err, token)
	}
	require.NoError(t, os.Chmod(filepath.Join(s.dir, "switchyard.db.secrets"), 0o600))
	assert.Equal(t, token, strings.TrimSpace(run(t, s.dir, nil, "", "token").out))
}

func TestMigrateStatus_NewerSchema_FailsAndSaysSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.Zero(t, run(t, dir, nil, "", "migrate", "up").code)
	db, err := sql.Open("sqlite3", filepath.Join(dir, "switchyard.db"))
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "INSERT INTO schema_migrations (version, name, applied_at) VALUES (9999, 'later', 0)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	r := run(t, dir, nil, "", "migrate", "status")
	assert.NotZero(t, r.code)
	assert.Contains(t, r.err, "schema version 9999 is newer")
}
