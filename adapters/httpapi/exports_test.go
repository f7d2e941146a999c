package httpapi

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// longHistory is a history of many messages, in pages.
type longHistory struct {
	stubMessages
	total   int
	content string
	read    atomic.Int64                 // messages that were asked for
	failAt  int                          // the message at which reading fails; 0: never
	onPage  func(f domain.MessageFilter) // called before each page
}

func (s *longHistory) History(ctx context.Context, _, _ string, f domain.MessageFilter) ([]*domain.Message, domain.Cursor, error) {
	if s.onPage != nil {
		s.onPage(f)
	}
	var page []*domain.Message
	for len(page) < f.Limit && int(s.read.Load()) < s.total {
		n := int(s.read.Add(1))
		if n == s.failAt {
			return nil, domain.Cursor{}, domain.Errorf(domain.Internal, domain.CodeInternal, "The store is away")
		}
		m := someMessage()
		m.ID, m.Content = fmt.Sprintf("m%d", n), s.content
		page = append(page, m)
	}
	if int(s.read.Load()) >= s.total {
		return page, domain.Cursor{}, ctx.Err()
	}
	return page, domain.Cursor{At: noon, ID: page[len(page)-1].ID}, ctx.Err()
}

// exportServer serves a history.
func exportServer(t *testing.T, history *longHistory) *httptest.Server {
	t.Helper()
	cfg := config(&stub{})
	history.stub = &stub{}
	cfg.Messages = history
	server := httptest.NewServer(New(cfg))
	t.Cleanup(server.Close)
	return server
}

func openExport(t *testing.T, server *httptest.Server, path, token string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1"+path, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := server.Client().Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestExportMessages_CSV_EscapesFormulas(t *testing.T) {
	for content, want := range map[string]string{
		`=1+2`: `'=1+2`, `+1`: `'+1`, `-1`: `'-1`, `@SUM(A1)`: `'@SUM(A1)`, "\tx": "'\tx", "\rx": "'\rx", "a=b": "a=b", "": "",
		"two\nlines, \"quoted\"": "two\nlines, \"quoted\"",
	} {
		response := openExport(t, exportServer(t, &longHistory{total: 2, content: content}), "/sessions/support/messages/export", userToken)
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, "text/csv; charset=utf-8", response.Header.Get("Content-Type"))
		require.Equal(t, `attachment; filename="messages-support.csv"`, response.Header.Get("Content-Disposition"))
		rows, err := csv.NewReader(response.Body).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, 3)
		require.Equal(t, []string{"id", "messageId", "sessionId", "direction", "from", "to", "type", "content"}, rows[0][:8])
		require.Equal(t, []string{"m1", "3EB0", "support", "OUTBOUND", "6281234567890@s.whatsapp.net", "6289999999999@s.whatsapp.net", "text", want}, rows[1][:8])
		require.Contains(t, rows[2], "2026-03-01T12:00:00.123Z")
	}
}

func TestExportMessages_JSON_HasTheRowsOfTheList(t *testing.T) {
	for _, total := range []int{0, 1, 250} {
		history := &longHistory{total: total, content: "hello"}
		var limits []int
		history.onPage = func(f domain.MessageFilter) {
			limits = append(limits, f.Limit)
			require.Equal(t, domain.MessageSent, f.Status)
			require.Equal(t, domain.Outbound, f.Direction)
		}
		response := openExport(t, exportServer(t, history), "/sessions/support/messages/export?format=json&status=sent&direction=outbound", userToken)
		require.Equal(t, "application/json; charset=utf-8", response.Header.Get("Content-Type"))
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		var rows []map[string]any
		require.NoError(t, json.Unmarshal(text, &rows), "%s", text)
		require.Len(t, rows, total)
		require.Len(t, limits, max(1, (total+exportedAtOnce-1)/exportedAtOnce))
		if total > 0 {
			require.Equal(t, fmt.Sprintf("m%d", total), rows[total-1]["id"])
			require.Equal(t, "hello", rows[0]["content"])
		}
	}
}

func TestExportMessages_WrongParameters_AreReported(t *testing.T) {
	got, s := ask(t, "GET", "/api/v1/sessions/support/messages/export?format=xml&type=smell&since=soon", userToken, "")
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.ElementsMatch(t, []string{"format", "type", "since"}, got.fields())
	assert.Zero(t, s.calls)
	got, _ = ask(t, "GET", "/api/v1/admin/reports/export?format=pdf&type=secrets&startDate=x", adminToken, "")
	assert.ElementsMatch(t, []string{"format", "type", "startDate"}, got.fields())
	got, _ = ask(t, "GET", "/api/v1/admin/reports/export", adminToken, "")
	assert.Equal(t, []string{"type"}, got.fields())
}

// The first error is an answer. A later one ends the connection, so that the client does not take a part for the whole.
func TestExportMessages_StoreFails_AnswerIsNotComplete(t *testing.T) {
	response := openExport(t, exportServer(t, &longHistory{total: 9, failAt: 1}), "/sessions/support/messages/export", userToken)
	require.Equal(t, http.StatusInternalServerError, response.StatusCode)

	response = openExport(t, exportServer(t, &longHistory{total: 20_000, failAt: 18_000}), "/sessions/support/messages/export", userToken)
	require.Equal(t, http.StatusOK, response.StatusCode)
	_, err := io.Copy(io.Discard, response.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestExportMessages_ClientHangsUp_StopsReading(t *testing.T) {
	history := &longHistory{total: 1 << 40, content: strings.Repeat("x", 1000)}
	server := exportServer(t, history)
	response := openExport(t, server, "/sessions/support/messages/export", userToken)
	_, err := io.CopyN(io.Discard, response.Body, 1<<20)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	server.Close() // waits for the handler
}

// The bound is far above what the server needs, and below what the rows of one export take.
func TestExportMessages_ManyRows_UseLittleMemory(t *testing.T) {
	const rows, size, bound = 7_500, 10_000, 70 << 20
	var highest uint64
	history := &longHistory{total: rows, content: strings.Repeat("x", size)}
	pages := 0
	history.onPage = func(domain.MessageFilter) {
		pages++
		if pages%10 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			highest = max(highest, m.HeapInuse)
		}
	}
	for _, format := range []string{"csv", "json"} {
		history.read.Store(0)
		response := openExport(t, exportServer(t, history), "/sessions/support/messages/export?format="+format, userToken)
		n, err := io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.Greater(t, n, int64(rows*size))
	}
	require.Less(t, highest, uint64(bound))
}

func TestExportMessages_Head_ReadsNothing(t *testing.T) {
	got, s := ask(t, "HEAD", "/api/v1/sessions/support/messages/export", userToken, "")
	assert.Equal(t, http.StatusOK, got.Code)
	assert.Equal(t, "text/csv; charset=utf-8", got.Header().Get("Content-Type"))
	assert.Equal(t, 1, s.calls, "the session alone")
}

func TestExportReport_Parameters_ReachTheService(t *testing.T) {
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	_, s := ask(t, "GET", "/api/v1/admin/reports/export?type=Users&format=JSON&startDate=2026-03-01&endDate=2026-03-02", adminToken, "")
	assert.Equal(t, service.ExportRequest{Type: service.ExportUsers, Format: "json", Since: day, Until: day.AddDate(0, 0, 2)}, s.last)
	_, s = ask(t, "GET", "/api/v1/admin/reports/export?type=workers&endDate=2026-03-01T12:00:00Z", adminToken, "")
	assert.Equal(t, service.ExportRequest{Type: service.ExportWorkers, Format: "csv", Until: day.Add(12 * time.Hour)}, s.last)
	got, _ := ask(t, "GET", "/api/v1/admin/reports/export?type=users&format=csv", adminToken, "")
	rows, err := csv.NewReader(got.Body).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 2)
	assert.Equal(t, []string{"u1", "Ada", "ada@example.com"}, rows[1][:3])
	assert.NotContains(t, fmt.Sprint(rows), "never shown")
}
