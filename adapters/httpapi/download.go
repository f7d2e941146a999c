package httpapi

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// downloadBuffer is how many bytes of a download are sent at once.
const downloadBuffer = 32 << 10

// A download is an answer that is written row by row while it is read, in constant memory.
type download struct {
	format   string // csv or json
	filename string // without its ending
	columns  []string
	// rows calls write with every row, a value that is a JSON object.
	rows func(write func(row any) error) error
}

// formats holds the content types of downloads.
var formats = map[string]string{"csv": "text/csv; charset=utf-8", "json": "application/json; charset=utf-8"}

// sendDownload writes the download. An error before the first bytes are sent is answered as
// any error. Later, the connection ends, so that a part of a download does not look complete.
func (c *requestContext) sendDownload() {
	body := &downloadWriter{streamWriter{c, http.NewResponseController(c.w)}}
	if c.r.Method == http.MethodHead {
		body.begin()
		return
	}
	out := bufio.NewWriterSize(body, downloadBuffer)
	rows := rowWriter{out: out, columns: c.download.columns}
	if c.download.format == "csv" {
		rows.csv = csv.NewWriter(out)
	}
	release, err := c.api.queues[exporting].Acquire(c, c.shareKey())
	if err == nil {
		defer release()
		err = rows.begin()
	}
	if err == nil {
		err = c.download.rows(rows.write)
	}
	if err == nil {
		err = errors.Join(rows.end(), out.Flush())
	}
	switch {
	case err == nil:
	case c.status == 0:
		c.fail(err)
	default:
		c.err = err
		if c.r.Context().Err() == nil {
			c.Log().WarnContext(c.Context, "download cut short", "request", c.id, "error", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// A downloadWriter is a streamWriter that sends the headers before the first bytes.
type downloadWriter struct{ streamWriter }

func (w *downloadWriter) begin() {
	h := w.c.w.Header()
	h.Set("Content-Type", formats[w.c.download.format])
	h.Set("Content-Disposition", `attachment; filename="`+w.c.download.filename+"."+w.c.download.format+`"`)
	w.c.status = http.StatusOK
	w.c.w.WriteHeader(w.c.status)
}

// Write implements [io.Writer].
func (w *downloadWriter) Write(b []byte) (int, error) {
	if w.c.status == 0 {
		w.begin()
	}
	return w.streamWriter.Write(b)
}

// A rowWriter writes rows as CSV with a header, or as a JSON array with a row on each line.
type rowWriter struct {
	out     *bufio.Writer
	csv     *csv.Writer // nil: JSON
	columns []string
	cells   []string
	row     bytes.Buffer
	n       int
}

func (w *rowWriter) begin() error {
	if w.csv != nil {
		w.cells = make([]string, len(w.columns))
		return w.csv.Write(w.columns)
	}
	_, err := w.out.WriteString("[\n")
	return err
}

func (w *rowWriter) write(row any) error {
	w.row.Reset()
	if err := marshal(&w.row, row); err != nil {
		return err
	}
	w.n++
	if w.csv != nil {
		if err := w.readCells(w.row.Bytes()); err != nil {
			return err
		}
		return w.csv.Write(w.cells)
	}
	if w.n > 1 {
		if _, err := w.out.WriteString(",\n"); err != nil {
			return err
		}
	}
	_, err := w.out.Write(w.row.Bytes())
	return err
}

func (w *rowWriter) end() error {
	if w.csv != nil {
		w.csv.Flush()
		return w.csv.Error()
	}
	_, err := w.out.WriteString("\n]\n")
	return err
}

// readCells reads the members of an object into the cells of their columns. Texts are cells
// as they are, null is empty, and other values are JSON.
func (w *rowWriter) readCells(object []byte) error {
	clear(w.cells)
	dec := jsontext.NewDecoder(bytes.NewReader(object), jsontext.AllowInvalidUTF8(true))
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		column := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		for i := range w.columns {
			if w.columns[i] == column {
				w.cells[i] = cell(value)
			}
		}
	}
	return nil
}

// cell returns a JSON value as a cell of a spreadsheet. A program for spreadsheets takes a
// cell for a formula that begins with one of a few characters; an apostrophe prevents that.
func cell(value jsontext.Value) string {
	text := string(value)
	switch value.Kind() {
	case jsontext.KindNull:
		return ""
	case jsontext.KindString:
		unquoted, _ := jsontext.AppendUnquote(nil, value) // invalid UTF-8 is replaced
		text = string(unquoted)
	}
	if text != "" && strings.IndexByte("=+-@\t\r", text[0]) >= 0 {
		return "'" + text
	}
	return text
}

var _ io.Writer = (*downloadWriter)(nil)
