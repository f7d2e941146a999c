package main

import (
	"context"
	"io"

	appdemo "github.com/switchyard-wa/switchyard/app/demo"
)

// demo runs the command demo.
func demo(ctx context.Context, args []string, out, _ io.Writer) error {
	f := newFlags("demo", "", "Tells the whole user journey against a server and workers of its own.", out)
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.bad(f.noWords()); err != nil {
		return err
	}
	return appdemo.Run(ctx, out, versionText())
}
