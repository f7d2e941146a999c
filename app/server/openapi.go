package server

import (
	"fmt"

	"github.com/switchyard-wa/switchyard/adapters/httpapi"
)

// OpenAPI returns the OpenAPI document of the server's HTTP API, for a version of
// the server. format is json or yaml for OpenAPI 3.1, or 3.0 for that form as JSON.
func OpenAPI(version, format string) ([]byte, error) {
	switch form := httpapi.Format(format); form {
	case httpapi.FormatJSON, httpapi.FormatYAML, httpapi.FormatJSON3:
		return httpapi.Document(version, form)
	}
	return nil, fmt.Errorf("format %q is none of json, yaml, 3.0", format)
}
