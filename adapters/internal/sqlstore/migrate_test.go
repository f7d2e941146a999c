package sqlstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSchemaMigrations_EachDialect_FillsEveryTemplate(t *testing.T) {
	for name, b := range dialects {
		for _, m := range schemaMigrations() {
			text, err := m.sql(&b.dialect)
			require.NoError(t, err)
			require.NotContains(t, text, "{{", "%s: %s", name, m.name)
			require.NotContains(t, text, "<no value>", "%s: %s", name, m.name)
		}
	}
}
