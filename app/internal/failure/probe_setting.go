package failure

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const probesStoppedSetting = "monitor.stopped"

// ReadSetting reads whether background probes are stopped on all replicas.
func (d *Detector) ReadSetting(ctx context.Context, tx *ports.Tx) error {
	stopped, err := readProbesStopped(ctx, tx)
	if err == nil {
		d.probesStopped.Store(stopped)
	}
	return err
}

func readProbesStopped(ctx context.Context, tx *ports.Tx) (bool, error) {
	text, err := tx.Settings.Get(ctx, probesStoppedSetting)
	if err != nil && !errors.Is(err, ports.ErrNotFound) {
		return false, err
	}
	return text == "true", nil
}

// ProbeStatus returns the state of the background probes.
func (d *Detector) ProbeStatus(ctx context.Context) service.ProbeStatus {
	stopped := d.probesStopped.Load()
	if d.IsShared() { // another replica may have changed the setting a moment ago
		err := d.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
			current, err := readProbesStopped(ctx, tx)
			if err == nil {
				stopped = current
			}
			return err
		})
		d.LogFailure(ctx, "probe setting not read", err)
	}
	st := service.ProbeStatus{Running: !stopped, Interval: d.Timing.ProbeInterval, Workers: d.cache.CountWorkers()}
	if us := d.probedAt.Load(); us != 0 {
		st.LastCheck = time.UnixMicro(us).UTC()
	}
	return st
}

// StartProbes starts the background probes. Other replicas follow at their next
// heartbeat.
func (d *Detector) StartProbes(ctx context.Context) (service.ProbeStatus, error) {
	return d.setProbesEnabled(ctx, true)
}

// StopProbes stops the background probes. Other replicas follow at their next
// heartbeat. Silent workers are still marked down.
func (d *Detector) StopProbes(ctx context.Context) (service.ProbeStatus, error) {
	return d.setProbesEnabled(ctx, false)
}

func (d *Detector) setProbesEnabled(ctx context.Context, enabled bool) (service.ProbeStatus, error) {
	err := d.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Settings.Put(ctx, probesStoppedSetting, strconv.FormatBool(!enabled)); err != nil {
			return err
		}
		action := domain.AuditFleetProbesStopped
		if enabled {
			action = domain.AuditFleetProbesStarted
		}
		return d.Trail().Record(ctx, tx, action, "fleet")
	})
	if err != nil {
		return service.ProbeStatus{}, apperr.Public(err)
	}
	d.probesStopped.Store(!enabled)
	d.queue.Wake()
	return d.ProbeStatus(ctx), nil
}
