package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// TestCheckpoint_WritesWithoutPause_ReuseTheLog writes until the log begins again.
func TestCheckpoint_WritesWithoutPause_ReuseTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path, Options{Migrate: true})
	require.NoError(t, err)
	s.checkpoints.copyAfter, s.checkpoints.smallRest = 200, 100

	value := string(make([]byte, 3000))
	var round int // each value is new, because SQLite does not write an unchanged row
	write := func(goroutines, each int) {
		var wg sync.WaitGroup
		round++
		for g := range goroutines {
			wg.Go(func() {
				for i := range each {
					err := s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
						return tx.Settings.Put(ctx, fmt.Sprint(round, g, i), value)
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	size := func() int64 {
		info, err := os.Stat(path + "-wal")
		require.NoError(t, err)
		return info.Size()
	}
	isReused := func() bool { // within one round of writes
		before := size()
		write(8, 100)
		return size() == before
	}
	write(8, 100)
	require.Eventually(t, isReused, 20*time.Second, time.Millisecond, "nobody pauses")

	// While a View is open, the log keeps its snapshot and grows.
	begun, end, ended := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		ended <- s.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
			_, err := tx.Settings.Get(ctx, fmt.Sprint(1, 0, 0))
			close(begun)
			<-end
			return err
		})
	}()
	<-begun
	before := size()
	write(8, 200)
	require.Greater(t, size(), before)
	close(end)
	require.NoError(t, <-ended)
	require.Eventually(t, isReused, 20*time.Second, time.Millisecond, "after the View")
	require.NoError(t, s.Close())
	require.NoFileExists(t, path+"-wal", "Close leaves only the database")
}

// TestCheckpoint_LargeUpdates_BoundTheLog fills the store in few Updates, each longer than the checkpointer's limit.
func TestCheckpoint_LargeUpdates_BoundTheLog(t *testing.T) {
	const (
		callers, updates, rows = 4, 15, 300
		frame                  = 24 + 4096                  // bytes
		longest                = callers * (rows*3/2 + 100) // frames of a group: each caller has one Update in it
	)
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path, Options{Migrate: true})
	require.NoError(t, err)
	s.checkpoints.copyAfter, s.checkpoints.maxFrames = 200, 800

	value := string(make([]byte, 3000))
	var wg sync.WaitGroup
	for g := range callers {
		wg.Go(func() {
			for u := range updates {
				err := s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
					for i := range rows {
						if err := tx.Settings.Put(ctx, fmt.Sprint(g, u, i), value); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	log, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	require.LessOrEqual(t, log.Size(), int64(800+200+longest)*frame)
	require.NoError(t, s.Close())
	file, err := os.Stat(path)
	require.NoError(t, err)
	require.Greater(t, file.Size(), int64(callers*updates*rows*3000), "all of it was written")
}
