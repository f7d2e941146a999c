package chromiumtest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// axeFile is where `make axe` puts axe-core, in the root of the repository. The Makefile has the same version.
const (
	axeFile = ".cache/axe-core-4.14.1/axe.min.js"
	axeSum  = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
)

// axeSource returns the program of axe-core. A program with another checksum than axeSum is an error.
var axeSource = sync.OnceValues(func() (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(root, axeFile))
	if err != nil {
		return "", fmt.Errorf("axe-core is missing: `make axe` fetches it: %w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != axeSum {
		return "", fmt.Errorf("%s is not the pinned one: its SHA-256 is %x", axeFile, sum)
	}
	return string(b), nil
})

// repository returns the folder with go.mod.
func repository() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("there is no go.mod in this folder or above")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
