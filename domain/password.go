package domain

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"
)

const (
	passwordRule     = "Password must be 8 to 72 bytes long with at least one letter and one digit"
	passwordIsCommon = "Password is one of the most common ones; choose another"
	passwordIsOwn    = "Password must not be the name or the email of the account"
	passwordMin      = 8
	passwordMax      = 72 // bcrypt ignores further bytes
)

// commonPasswordList holds the 5,183 passwords that satisfy passwordRule among the 47,023 most common
// ones, in lower case, one a line. They come from data/passwords.txt of github.com/trustelem/zxcvbn
// v1.0.1 (MIT), which counted leaked passwords.
//
//go:embed common_passwords.txt
var commonPasswordList string

// commonPasswords returns the passwords of commonPasswordList as a set.
var commonPasswords = sync.OnceValue(func() map[string]bool {
	set := make(map[string]bool)
	for line := range strings.Lines(commonPasswordList) {
		set[strings.TrimSpace(line)] = true
	}
	return set
})

// CheckPassword returns nil if pw may be a password: 8 to 72 bytes with at least one letter and one
// digit, of any script, and none of the most common passwords in any case. Otherwise the error is
// [Invalid]. The error never contains the password.
func CheckPassword(pw string) error {
	if len(pw) < passwordMin || len(pw) > passwordMax ||
		!strings.ContainsFunc(pw, unicode.IsLetter) || !strings.ContainsFunc(pw, unicode.IsDigit) {
		return Errorf(Invalid, CodeValidation, passwordRule)
	}
	if commonPasswords()[strings.ToLower(pw)] {
		return Errorf(Invalid, CodeValidation, passwordIsCommon)
	}
	return nil
}

// CheckPasswordOf is [CheckPassword] for a known account. It also refuses the account's name, its email,
// and the part of the email before the @. It compares them without blanks and in any case.
func CheckPasswordOf(pw, name, email string) error {
	if err := CheckPassword(pw); err != nil {
		return err
	}
	plain := func(s string) string {
		return strings.ToLower(strings.Join(strings.Fields(s), ""))
	}
	user, _, _ := strings.Cut(email, "@")
	for _, own := range []string{name, email, user} {
		if own != "" && plain(pw) == plain(own) {
			return Errorf(Invalid, CodeValidation, passwordIsOwn)
		}
	}
	return nil
}
