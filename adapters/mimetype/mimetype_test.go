package mimetype_test

import (
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/mimetype"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestTypes_Conformance(t *testing.T) { conformance.MediaTypes(t, mimetype.Types{}) }
