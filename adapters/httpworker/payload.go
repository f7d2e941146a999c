package httpworker

import (
	"bufio"
	"encoding/base64"
	"io"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
)

// payload is a request as it is written. The content of a file is encoded while it is
// written: a document of 100 MiB takes 133 MiB in base64, which are nowhere in memory.
type payload struct {
	wire   []byte
	file   *domain.Upload // goes into wire at fileAt, in base64; nil: none
	fileAt int
}

// uploadBuffer is the size of the buffers for files.
const uploadBuffer = 64 << 10

// uploadWriters and uploadChunks hold the buffers.
var (
	uploadWriters = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, uploadBuffer) }}
	uploadChunks  = sync.Pool{New: func() any { return new(make([]byte, uploadBuffer)) }}
)

// base64Length returns the length of the padded base64 text for a size.
func base64Length(size int64) int64 { return (size + 2) / 3 * 4 }

// countingWriter counts the bytes that were written.
type countingWriter struct {
	w io.Writer
	n int
}

// Write writes to the wrapped writer.
func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += n
	return n, err
}

// writeTo writes the request. It returns the number of bytes that were written.
func (p payload) writeTo(conn io.Writer) (int, error) {
	if p.file == nil {
		return conn.Write(p.wire)
	}
	counted := &countingWriter{w: conn}
	out := uploadWriters.Get().(*bufio.Writer)
	out.Reset(counted)
	defer func() {
		out.Reset(nil)
		uploadWriters.Put(out)
	}()
	err := p.write(out)
	if err == nil {
		err = out.Flush()
	}
	return counted.n, err
}

// write writes the request with its file.
func (p payload) write(out *bufio.Writer) error {
	if _, err := out.Write(p.wire[:p.fileAt]); err != nil {
		return err
	}
	chunk := uploadChunks.Get().(*[]byte)
	defer uploadChunks.Put(chunk)
	text := base64.NewEncoder(base64.StdEncoding, out)
	content := io.NewSectionReader(p.file.Content, 0, p.file.Size)
	n, err := io.CopyBuffer(text, content, *chunk)
	switch {
	case err != nil:
		return err
	case n < p.file.Size:
		return io.ErrUnexpectedEOF // the announced length would be wrong
	}
	if err := text.Close(); err != nil {
		return err
	}
	_, err = out.Write(p.wire[p.fileAt:])
	return err
}
