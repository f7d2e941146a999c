package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/switchyard-wa/switchyard/app/server"
)

// openapi prints the document of the HTTP API.
func openapi(_ context.Context, args []string, out, _ io.Writer) error {
	format := "json"
	f := newFlags("openapi", "", "Prints the OpenAPI document of the HTTP API. A server shows it at /openapi.json and /docs.", out)
	f.text(&format, "format", "FORMAT", "json", "json or yaml for OpenAPI 3.1, or 3.0 for that form as JSON")
	if err := f.parse(args); err != nil {
		return err
	}
	document, err := server.OpenAPI(versionText(), strings.ToLower(format))
	if err != nil {
		err = fmt.Errorf("--format: %w", err)
	}
	if err := f.bad(errors.Join(f.noWords(), err)); err != nil {
		return err
	}
	_, err = out.Write(document)
	return err
}
