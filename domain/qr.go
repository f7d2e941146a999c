package domain

import (
	"encoding/base64"
	"strings"
	"time"
)

const (
	qrCodeMax     = 4096
	qrImageMax    = 256 << 10
	qrDataURL     = "data:image/png;base64,"
	pngSignature  = "\x89PNG\r\n\x1a\n"
	qrCodeRule    = "QR string must be at most 4096 printable ASCII characters"
	qrImageRule   = "QR image must be a PNG as a data:image/png;base64 URL"
	qrImageTooBig = "QR image must be at most 256 KiB"
)

// QR is the code that a phone scans to link a session. It is a credential until ExpiresAt. Code is the
// text to draw. Image is a PNG, set only if the worker sent no text.
type QR struct {
	Code      string
	Image     []byte
	ExpiresAt time.Time
}

// Waits for codes of a session.
const (
	renewalDelay = 5 * time.Second // how late a worker may send the next QR
	codeLife     = 3 * time.Minute // of a code without a known expiry
)

// IsCodeExpired reports whether the session waits for a scan and has no code that could be scanned or
// typed: the worker did not renew it.
func (s *Session) IsCodeExpired(now time.Time) bool {
	if s.Status != QRRequired {
		return false
	}
	end := s.QR.ExpiresAt
	if end.IsZero() {
		end = s.StatusAt.Add(codeLife)
	}
	return !now.Before(end.Add(renewalDelay))
}

// IsZero reports whether q holds neither text nor image.
func (q QR) IsZero() bool { return q.Code == "" && len(q.Image) == 0 }

// ParseQR reads the two QR fields of a worker's report. The report arrived at now, and the QR expires
// after life. Both fields accept the raw QR text or a PNG data URL. qrString takes precedence unless it
// is blank. If both are blank, ParseQR returns the zero QR without an error. Text must have at most
// 4096 printable ASCII characters, and a picture must be a base64 PNG of at most 256 KiB. Otherwise the
// error is [Invalid].
func ParseQR(qrCode, qrString string, now time.Time, life time.Duration) (QR, error) {
	text := strings.TrimSpace(qrString)
	if text == "" {
		text = strings.TrimSpace(qrCode)
	}
	if text == "" {
		return QR{}, nil
	}
	qr := QR{ExpiresAt: now.Add(life)}
	var err error
	if strings.HasPrefix(text, "data:") {
		qr.Image, err = parseQRImage(text)
	} else {
		qr.Code, err = parseQRCode(text)
	}
	if err != nil {
		return QR{}, err
	}
	return qr, nil
}

// parseQRCode checks the text of a QR.
func parseQRCode(text string) (string, error) {
	if len(text) > qrCodeMax {
		return "", Errorf(Invalid, CodeValidation, qrCodeRule)
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' {
			return "", Errorf(Invalid, CodeValidation, qrCodeRule)
		}
	}
	return text, nil
}

// parseQRImage decodes the data URL of a QR.
func parseQRImage(text string) ([]byte, error) {
	data, ok := strings.CutPrefix(text, qrDataURL)
	if !ok {
		return nil, Errorf(Invalid, CodeValidation, qrImageRule)
	}
	if len(data) > base64.StdEncoding.EncodedLen(qrImageMax) {
		return nil, Errorf(Invalid, CodeValidation, qrImageTooBig) // before decoding allocates memory
	}
	image, err := base64.StdEncoding.DecodeString(data)
	if err != nil || !strings.HasPrefix(string(image), pngSignature) {
		return nil, Errorf(Invalid, CodeValidation, qrImageRule)
	}
	if len(image) > qrImageMax {
		return nil, Errorf(Invalid, CodeValidation, qrImageTooBig)
	}
	return image, nil
}
