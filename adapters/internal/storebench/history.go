package storebench

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	historySessions = 1000
	historyRounds   = 7
	historyMeasured = 2 * time.Second  // for one variant in a round
	historyWarmUp   = 10 * time.Second // reads what the sends touch; PostgreSQL logs each page as a whole after a checkpoint
	// pageLimit is how long the first page of a filter may take.
	pageLimit = 50 * time.Millisecond
	// worthyInsertRate is the least rate of sends with a full table, as a part of the rate with an empty table.
	worthyInsertRate = 0.8
)

// HistoryRows returns the number of messages of the benchmark of the history: HISTORY_ROWS, or 50 000.
func HistoryRows(tb testing.TB) int {
	tb.Helper()
	text := os.Getenv("HISTORY_ROWS")
	if text == "" {
		return 50_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// OpenFull opens a store with [historySessions] seeded sessions and so many messages, which are loaded in bulk. It takes each message
// from [HistoryMessage].
type OpenFull func(b *testing.B, rows int) ports.Store

// History measures the history with many messages, a tenth of them in one session: the first page of each filter, searches, and
// the rate of sends, also as a ratio to the rate of an empty store.
func History(b *testing.B, open Open, openFull OpenFull) {
	rows := HistoryRows(b)
	start := time.Now()
	full := openFull(b, rows)
	b.Logf("%d messages in %v", rows, time.Since(start).Round(time.Second))
	for _, name := range slices.Sorted(maps.Keys(historyFilters)) {
		b.Run(name, func(b *testing.B) { measurePage(b, full, name, historyFilters[name]) })
	}
	empty := open(b)
	SeedHistory(b, empty)
	b.Run("sends", func(b *testing.B) { compareSends(b, full, empty) })
}

// SeedHistory inserts the sessions of the history.
func SeedHistory(tb testing.TB, s ports.Store) { Seed(tb, s, historySessions) }

// historyFilters are the filters that are measured, by name. Searches have no limit.
var historyFilters = map[string]domain.MessageFilter{
	"page/none":                   {},
	"page/direction":              {Direction: domain.Inbound},
	"page/type":                   {Type: domain.TypePoll},
	"page/type-absent":            {Type: domain.TypeSticker},
	"page/status":                 {Status: domain.MessageFailed},
	"page/status-pending":         {Status: domain.MessagePending},
	"page/status-delivered":       {Status: domain.MessageDelivered},
	"page/direction-type":         {Direction: domain.Inbound, Type: domain.TypeImage},
	"page/direction-status":       {Direction: domain.Inbound, Status: domain.MessageFailed},
	"page/type-status":            {Type: domain.TypePoll, Status: domain.MessageFailed},
	"page/direction-type-status":  {Direction: domain.Outbound, Type: domain.TypePoll, Status: domain.MessageFailed},
	"page/to":                     {To: recipient(7)},
	"page/to-absent":              {To: "1@s.whatsapp.net"},
	"page/to-direction":           {To: recipient(7), Direction: domain.Inbound},
	"page/to-type-status":         {To: recipient(7), Type: domain.TypePoll, Status: domain.MessageFailed},
	"page/since-until":            {Since: historyBegin.Add(time.Hour), Until: historyBegin.Add(2 * time.Hour)},
	"page/since-until-type":       {Since: historyBegin.Add(time.Hour), Until: historyBegin.Add(2 * time.Hour), Type: domain.TypePoll},
	"page/cursor-status":          {After: domain.Cursor{At: historyBegin.Add(2 * time.Hour), ID: "m"}, Status: domain.MessageFailed},
	"search/rare-word":            {Search: "w4999"},
	"search/common-word":          {Search: "w0"},
	"search/two-words":            {Search: "w17 w3"},
	"search/common-word-of-polls": {Search: "w0", Type: domain.TypePoll},
	"search/absent":               {Search: "nothing"},
}

var historyBegin = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func recipient(i int) string { return fmt.Sprintf("4915%09d@s.whatsapp.net", i) }

// measurePage measures the first page of a filter in the largest session.
func measurePage(b *testing.B, s ports.Store, name string, f domain.MessageFilter) {
	f.Limit = 21
	var times []float64
	found := 0
	for b.Loop() {
		start := time.Now()
		err := s.View(b.Context(), func(ctx context.Context, tx *ports.Tx) error {
			list, err := tx.Messages.List(ctx, sessionID(0), f)
			found = len(list)
			return err
		})
		if err != nil && !strings.HasPrefix(name, "search/") {
			b.Fatal(err)
		}
		times = append(times, float64(time.Since(start)))
		if err != nil {
			b.Logf("SHORTFALL: the search fails: %v", err)
			break
		}
	}
	median := time.Duration(Median(times))
	b.ReportMetric(float64(found), "found")
	b.ReportMetric(float64(median)/1e6, "ms-median")
	if median > pageLimit && strings.HasPrefix(name, "page/") {
		b.Logf("SHORTFALL: the first page takes %v, should be at most %v", median, pageLimit)
	}
}

// compareSends compares the rates of sends, in rounds that alternate.
func compareSends(b *testing.B, full, empty ports.Store) {
	for _, s := range []ports.Store{empty, full} {
		SendRate(b, writers, historySessions, historyWarmUp, s.Update)
	}
	var ratios, fullRates, emptyRates []float64
	for range historyRounds {
		emptyRates = append(emptyRates, SendRate(b, writers, historySessions, historyMeasured, empty.Update))
		fullRates = append(fullRates, SendRate(b, writers, historySessions, historyMeasured, full.Update))
		ratios = append(ratios, fullRates[len(fullRates)-1]/emptyRates[len(emptyRates)-1])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(Median(emptyRates), "empty-updates/s")
	b.ReportMetric(Median(fullRates), "full-updates/s")
	b.ReportMetric(Median(ratios), "full/empty")
	if ratio := Median(ratios); ratio < worthyInsertRate {
		b.Logf("SHORTFALL: a full table takes %.2f of the sends of an empty one, should be at least %.2f", ratio, worthyInsertRate)
	}
}

// historySession returns the session of the message with a number. Every tenth message belongs to the first session.
func historySession(i int) string {
	if i%10 == 0 {
		return sessionID(0)
	}
	return sessionID(i * 7919 % historySessions)
}

// HistoryMessage returns the message with a number.
func HistoryMessage(i int) *domain.Message {
	k := i / 10 // the number within the first session
	m := &domain.Message{
		ID: fmt.Sprintf("%08x-0000-7000-8000-%012x", i, i), SessionID: historySession(i), UserID: "user", Direction: domain.Outbound,
		From: recipient(0), To: recipient(k * 31 % 200), Type: domain.TypeText, Status: domain.MessageRead,
		CreatedAt: historyBegin.Add(time.Duration(i) * time.Second), WhatsAppID: fmt.Sprintf("3EB0%016X", uint64(i)*0x9e3779b97f4a7c15),
	}
	if k%3 == 0 {
		m.Direction, m.To = domain.Inbound, recipient(0)
	}
	switch n := k * 7 % 100; {
	case n == 99:
		m.Type = domain.TypePoll
	case n > 85:
		m.Type = domain.TypeImage
	}
	switch n := k * 13 % 200; {
	case n == 7:
		m.Status = domain.MessageFailed
	case n > 150:
		m.Status = domain.MessageDelivered
	}
	m.SentAt = m.CreatedAt
	var content strings.Builder
	for n := range 3 + k%12 {
		word := float64((k*7919+n*104_729)%10_007) / 10_007
		fmt.Fprintf(&content, "w%d ", int(5000*word*word*word))
	}
	m.Content = content.String()
	return m
}
