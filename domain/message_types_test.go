package domain_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// TestMessageTypes_EveryConstant_IsListed reads the package's source. Stores find messages by the listed types.
func TestMessageTypes_EveryConstant_IsListed(t *testing.T) {
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var declared []domain.MessageType
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, is := n.(*ast.ValueSpec)
			if !is || len(spec.Values) != 1 {
				return true
			}
			kind, isNamed := spec.Type.(*ast.Ident)
			if value, isText := spec.Values[0].(*ast.BasicLit); isNamed && isText && kind.Name == "MessageType" {
				text, err := strconv.Unquote(value.Value)
				require.NoError(t, err)
				declared = append(declared, domain.MessageType(text))
			}
			return true
		})
	}
	require.NotEmpty(t, declared)
	require.ElementsMatch(t, declared, domain.MessageTypes())
}
