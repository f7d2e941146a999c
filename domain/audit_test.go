package domain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAuditActions_Names_AreDistinctDottedWords(t *testing.T) {
	seen := map[AuditAction]bool{}
	for _, a := range AuditActions() {
		require.Regexp(t, `^[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*$`, a)
		require.False(t, seen[a], a)
		seen[a] = true
		parsed, err := ParseAuditAction(" " + strings.ToUpper(string(a)))
		require.NoError(t, err)
		require.Equal(t, a, parsed)
	}
}

func TestAuditActions_EveryConstant_IsListed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "audit.go", nil, 0)
	require.NoError(t, err)
	var declared []AuditAction
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "AuditAction" {
				text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				declared = append(declared, AuditAction(text))
			}
		}
		return true
	})
	require.NotEmpty(t, declared)
	require.ElementsMatch(t, declared, AuditActions())
}

func TestParseAuditAction_GroupOrUnknown_IsAcceptedOrRefused(t *testing.T) {
	group, err := ParseAuditAction("api-key")
	require.NoError(t, err)
	require.Equal(t, AuditAction("api-key"), group)
	for _, text := range []string{"", "user.", "user.danced", "use", "user.signed-in.", "%"} {
		_, err := ParseAuditAction(text)
		require.Equal(t, CodeValidation, CodeOf(err), text)
	}
}

func TestAuditEntryBounded_TextsFromOutside_AreCutAndCleaned(t *testing.T) {
	details := map[string]string{"reason": strings.Repeat("é", 200) + "\x00"}
	for _, name := range strings.Split(strings.Repeat("n", 40), "") {
		details[strings.Repeat(name, len(details)+1)] = "x"
	}
	e := AuditEntry{
		Actor:  Actor{ID: "a\x00b\nc", Email: strings.Repeat("e", 300)},
		Object: "worker:" + strings.Repeat("w", 127) + "é", Address: "\xff", Details: details,
	}

	b := e.Bounded()

	require.Equal(t, "abc", b.Actor.ID)
	longest := strings.Repeat("e", 242) + "@example.com"
	require.Equal(t, longest, AuditEntry{Actor: Actor{Email: longest}}.Bounded().Actor.Email, "an email of 254 bytes is whole")
	require.Len(t, b.Actor.Email, auditEmailMax)
	require.Len(t, b.Object, auditTextMax)
	require.Equal(t, "\uFFFD", b.Address)
	require.Equal(t, 1, b.Count)
	require.Len(t, b.Details, auditDetailsMax)
	require.Len(t, e.Details, len(details), "the entry itself keeps its details")
	require.Equal(t, strings.Repeat("é", auditDetailMax/2), AuditEntry{Details: map[string]string{"reason": details["reason"]}}.Bounded().Details["reason"])
	require.Nil(t, AuditEntry{Details: map[string]string{}}.Bounded().Details)
}

func TestCountedAuditID_SameMinuteAndParts_SameID(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 5, 0, time.UTC)
	id := CountedAuditID(at, "user.sign-in-failed", "ada@example.com", "203.0.113.7")
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
	require.Equal(t, id, CountedAuditID(at.Add(54*time.Second), "user.sign-in-failed", "ada@example.com", "203.0.113.7"))
	for name, different := range map[string]string{
		"the next minute":       CountedAuditID(at.Add(55*time.Second), "user.sign-in-failed", "ada@example.com", "203.0.113.7"),
		"another address":       CountedAuditID(at, "user.sign-in-failed", "ada@example.com", "203.0.113.8"),
		"parts that join alike": CountedAuditID(at, "user.sign-in-failed", "ada@example.com203.0.113.7"),
		"an hour earlier":       CountedAuditID(at.Add(-time.Hour), "user.sign-in-failed", "ada@example.com", "203.0.113.7"),
	} {
		require.NotEqual(t, id, different, name)
	}
	require.Less(t, id, CountedAuditID(at.Add(time.Minute)))
}
