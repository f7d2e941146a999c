package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	stdimage "image"
	"image/png"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/makiuchi-d/gozxing"
	qrreader "github.com/makiuchi-d/gozxing/qrcode"
	"rsc.io/qr"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// qrView is the QR code to scan, or the pairing code to type.
type qrView struct {
	SessionID string        `json:"sessionId" example:"support"`
	Status    domain.Status `json:"status" doc:"A session's status" example:"QR_REQUIRED"`
	WorkerID  *view.String  `json:"workerId,omitzero" doc:"In the answer to a connect" example:"worker-1"`
	view.QRView
}

// viewQR shows the codes at the given time. It leaves out expired ones.
func viewQR(s *service.SessionQR, pairing bool, now time.Time) qrView {
	v := qrView{SessionID: s.SessionID, Status: s.Status}
	if code := view.String(s.PairingCode); pairing || code != "" {
		v.PairingCode = &code
	}
	if live := current(s.QR, now); !live.IsZero() {
		v.QRString = view.String(live.Code)
		v.ExpiresAt = view.Time(live.ExpiresAt)
		if picture := drawPNG(live); picture != nil {
			v.QRCode = view.String("data:image/png;base64," + base64.StdEncoding.EncodeToString(picture))
		}
	}
	return v
}

// current returns a QR while it can be scanned.
func current(q domain.QR, now time.Time) domain.QR {
	if !q.ExpiresAt.IsZero() && !now.Before(q.ExpiresAt) {
		return domain.QR{}
	}
	return q
}

type connectBody struct {
	Pairing *pairingBody `json:"pairing,omitempty" doc:"Asks for a pairing code instead of a QR code"`
}

type pairingBody struct {
	PhoneNumber string `json:"phoneNumber" minLength:"1" doc:"Number of the phone, in international format" example:"+62 812 3456 7890"`
}

type connectInput struct {
	SessionPath
	Wait    string `query:"wait" doc:"How long to wait for a QR code or a connection: a length of time such as 10s, or seconds; at most 30s" example:"10s"`
	Body    connectBody
	options service.ConnectOptions
}

// Resolve applies the rules of the domain.
func (in *connectInput) Resolve(huma.Context) []error {
	var p problems
	if in.Body.Pairing != nil {
		in.options.PairingPhone = p.text("pairing.phoneNumber", in.Body.Pairing.PhoneNumber, domain.ParsePhone)
	}
	p.duration("wait", in.Wait, &in.options.Wait, maxWait)
	return p
}

func (a *api) connect(ctx context.Context, c *requestContext, in *connectInput) (qrView, error) {
	s, err := a.Sessions.Connect(ctx, c.principal.UserID, c.sessionRef(), in.options)
	if err != nil {
		return qrView{}, err
	}
	v := viewQR(s, in.Body.Pairing != nil, a.Clock.Now())
	workerID := view.String(s.WorkerID)
	v.WorkerID = &workerID
	c.message = whatNext(v, s.IsExpired)
	if !s.Status.IsActive() {
		c.message = connectFailure(s)
	}
	return v, nil
}

// connectFailure tells the user why a session that was just connected is down.
func connectFailure(s *service.SessionQR) string {
	if s.Reason == "" {
		return "Session did not connect; connect it again"
	}
	return "Session did not connect: " + s.Reason + "; connect it again"
}

// expiredCode tells what to do about a code that its worker did not renew.
const expiredCode = "The code has expired and was not renewed; connect the session again to get a new one"

// whatNext tells the user what to do.
func whatNext(v qrView, isExpired bool) string {
	switch {
	case isExpired:
		return expiredCode
	case v.Status == domain.Connected:
		return "Session is connected"
	case v.PairingCode != nil && *v.PairingCode != "":
		return "Type the pairing code into the phone"
	case v.QRCode != "" || v.QRString != "":
		return "Scan the QR code with the phone"
	case v.Status == domain.Init || v.Status == domain.QRRequired:
		return "Session is starting; its QR code will be there in a moment"
	case v.Status == domain.Reconnecting:
		return "Session is reconnecting; there is nothing to scan"
	}
	return "There is no QR code; connect the session to get one"
}

type qrInput struct {
	SessionPath
	Format string `query:"format" doc:"json, png, svg or text; json if it is not given" example:"json"`
	format string
}

// Resolve reads the parameters.
func (in *qrInput) Resolve(huma.Context) []error {
	var p problems
	in.format = "json"
	parse(&p, "format", in.Format, &in.format, oneOf("json", "png", "svg", "text"))
	return p
}

func (a *api) qr(ctx context.Context, c *requestContext, in *qrInput) (qrView, error) {
	s, err := a.Sessions.QR(ctx, c.principal.UserID, c.sessionRef())
	if err != nil {
		return qrView{}, err
	}
	now := a.Clock.Now()
	v := viewQR(s, false, now)
	c.message = whatNext(v, s.IsExpired)
	if in.format == "json" {
		return v, nil
	}
	picture, ok := draw(current(s.QR, now), in.format)
	if !ok {
		return qrView{}, domain.Errorf(domain.NotFound, domain.CodeNotFound, "%s", c.message)
	}
	c.picture = &picture
	return v, nil
}

// draw makes the picture of a QR in one of the formats, if that is possible.
func draw(q domain.QR, format string) (image, bool) {
	if q.IsZero() {
		return image{}, false
	}
	if format == "png" {
		picture := drawPNG(q)
		return image{"image/png", picture}, picture != nil
	}
	code := encodeQR(q.Code)
	switch {
	case code == nil && format == "svg" && len(q.Image) > 0:
		return image{"image/svg+xml", wrapSVG(q.Image)}, true
	case code == nil:
		return image{}, false
	case format == "svg":
		return image{"image/svg+xml", drawSVG(code)}, true
	}
	return image{"text/plain; charset=utf-8", drawText(code)}, true
}

// encodeQR returns nil for what does not fit into a QR code.
func encodeQR(text string) *qr.Code {
	if text == "" {
		return nil
	}
	for _, level := range []qr.Level{qr.M, qr.L} {
		if code, err := qr.Encode(text, level); err == nil {
			return code
		}
	}
	return nil
}

// quiet is the margin that a QR code needs, in modules.
const quiet = 4

func drawPNG(q domain.QR) []byte {
	if code := encodeQR(q.Code); code != nil {
		return code.PNG() // with its margin
	}
	return q.Image
}

func drawSVG(code *qr.Code) []byte {
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			if !code.Black(x, y) {
				continue
			}
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", from+quiet, y+quiet, x-from, x-from)
		}
	}
	side := code.Size + 2*quiet
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[1]d" shape-rendering="crispEdges">`+
		`<path fill="#fff" d="M0 0h%[1]dv%[1]dH0z"/><path d="%[2]s"/></svg>`, side, path.String())
}

func wrapSVG(picture []byte) []byte {
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">`+
		`<image width="1" height="1" href="data:image/png;base64,%s"/></svg>`, base64.StdEncoding.EncodeToString(picture))
}

// drawText draws with half blocks, light on dark, two rows of modules a line.
func drawText(code *qr.Code) []byte {
	const margin = 2
	light := func(x, y int) bool { return y < code.Size+margin && !code.Black(x, y) }
	var out strings.Builder
	for y := -margin; y < code.Size+margin; y += 2 {
		for x := -margin; x < code.Size+margin; x++ {
			switch upper, lower := light(x, y), light(x, y+1); {
			case upper && lower:
				out.WriteString("█")
			case upper:
				out.WriteString("▀")
			case lower:
				out.WriteString("▄")
			default:
				out.WriteByte(' ')
			}
		}
		out.WriteByte('\n')
	}
	return []byte(out.String())
}

// maxPicture is the longest side, in pixels, of a picture that is decoded. A picture
// of this size takes 8 MB at most; workers send sides of about 300.
const maxPicture = 1024

// decodePicture returns a QR with its text if it came as a picture that can be decoded.
// A QR with its text can be drawn in any format.
func decodePicture(q domain.QR) domain.QR {
	if q.Code != "" || len(q.Image) == 0 {
		return q
	}
	text, err := decodePNG(q.Image)
	if err != nil {
		return q
	}
	read, err := domain.ParseQR("", text, q.ExpiresAt, 0)
	if err != nil || read.Code == "" {
		return q
	}
	return read
}

func decodePNG(picture []byte) (text string, err error) {
	size, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return "", err
	}
	if size.Width > maxPicture || size.Height > maxPicture {
		return "", fmt.Errorf("picture of %d×%d pixels", size.Width, size.Height)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading the picture: %v", p) // the reader is not made for pictures by strangers
		}
	}()
	pixels, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return "", err
	}
	return decodePixels(pixels)
}

func decodePixels(pixels stdimage.Image) (string, error) {
	bits, err := gozxing.NewBinaryBitmapFromImage(pixels)
	if err != nil {
		return "", err
	}
	for _, hints := range []map[gozxing.DecodeHintType]any{
		{gozxing.DecodeHintType_PURE_BARCODE: true}, nil,
	} {
		result, decodeErr := qrreader.NewQRCodeReader().Decode(bits, hints)
		if decodeErr == nil {
			return result.GetText(), nil
		}
		err = decodeErr
	}
	return "", err
}
