package backend_test

import (
	"strings"
	"testing"

	"github.com/switchyard-wa/switchyard/app/backend"
)

// FuzzCheck checks that the password of a data source name is in no error and no name.
func FuzzCheck(f *testing.F) {
	for _, rest := range []string{
		"host/db", "host:5432/db?sslmode=require", "[::1]:6379/0", "%zz", "host:port", "a@b@c", "/", "host?x=%", "host/db?pool_max_conns=-1", "\x00", "host:99999/1",
	} {
		f.Add("postgres", rest)
		f.Add("redis", rest)
		f.Add("rediss", rest)
		f.Add("sqlite", rest)
		f.Add("", rest)
	}
	f.Add("//", "0")
	f.Add("x://host/a", "0")
	f.Fuzz(func(t *testing.T, scheme, rest string) {
		const password = "correct-horse-battery"
		if strings.Contains(scheme+rest, password) {
			return
		}
		dsn := scheme + "://user:" + password + "@" + rest
		for _, check := range []func(string) error{backend.Check, backend.CheckCoordination} {
			if err := check(dsn); err != nil && strings.Contains(err.Error(), password) {
				t.Fatal(err)
			}
			_ = check(rest)
		}
		if name := backend.Name(dsn); scheme != "sqlite" && scheme != "memory" && strings.Contains(name, password) {
			t.Fatal(name)
		}
	})
}
