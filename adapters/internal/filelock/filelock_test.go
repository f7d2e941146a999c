package filelock_test

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/filelock"
)

func TestTryAcquire_HeldAndReleased_HasOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := filelock.TryAcquire(path)
	require.NoError(t, err)
	_, err = filelock.TryAcquire(path)
	require.ErrorIs(t, err, filelock.ErrHeld)
	l.Release()
	require.FileExists(t, path)
	l, err = filelock.TryAcquire(path)
	require.NoError(t, err)
	l.Remove()
	require.NoFileExists(t, path)
}

// Each holder removes the file, so that all others wait on a file that is gone.
func TestAcquire_FileRemovedByHolders_HasOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var wg sync.WaitGroup
	var holders, most, acquired atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l, err := filelock.Acquire(path)
				if err != nil {
					continue
				}
				acquired.Add(1)
				if n := holders.Add(1); n > 1 {
					most.Store(n)
				}
				runtime.Gosched()
				holders.Add(-1)
				l.Remove()
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 8*50, acquired.Load())
	require.Zero(t, most.Load(), "holders at once")
}

func TestLock_FileRenamedOrReplaced_IsNotInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := filelock.TryAcquire(path)
	require.NoError(t, err)
	defer l.Release()
	require.True(t, l.IsInPlace())
	require.NoError(t, l.Write([]byte("long text")))
	require.NoError(t, l.Write([]byte("mine")))

	require.NoError(t, os.Rename(path, path+".away"))
	require.False(t, l.IsInPlace())
	require.ErrorIs(t, l.Write([]byte("lost")), os.ErrNotExist)
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, []byte("another"), 0o600))
	require.False(t, l.IsInPlace())
	require.ErrorContains(t, l.Write([]byte("lost")), "removed or replaced")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "another", string(text))

	require.NoError(t, os.Rename(path+".away", path))
	require.True(t, l.IsInPlace())
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))
}
