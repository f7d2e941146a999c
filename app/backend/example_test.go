package backend_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/switchyard-wa/switchyard/app/backend"
)

// Open brings the schema of a store up to date. A program that must not change a schema asks
// Status first, or opens the store with CheckOnly.
func Example_schemaMigration() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "switchyard")
	check(err)
	defer func() { check(os.RemoveAll(dir)) }()
	dsn := "sqlite:" + filepath.Join(dir, "gateway.db")

	before, err := backend.Status(ctx, dsn)
	check(err)
	fmt.Println("before: version", before.Version)
	_, err = backend.With(ctx, backend.Config{Store: dsn, CheckOnly: true})
	fmt.Println("check only: refused:", err != nil)

	store, err := backend.Open(ctx, dsn)
	check(err)
	check(store.Close())
	after, err := backend.Status(ctx, dsn)
	check(err)
	fmt.Println("after: up to date:", after.Version == after.Latest)
	// Output:
	// before: version 0
	// check only: refused: true
	// after: up to date: true
}

// check ends an example that fails.
func check(err error) {
	if err != nil {
		panic(err)
	}
}
