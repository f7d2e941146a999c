package httpapi

import (
	"context"
	"math"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	defaultCapacity    = 50
	maxCapacity        = 1000
	defaultVersion     = "1.0.0"
	defaultEnvironment = "DEVELOPMENT"
	maxWord            = 50 // characters of a version, an environment, a label
	maxLabels          = 50
)

// workerView is a worker as administrators see it.
type workerView struct {
	ID            string              `json:"id"`
	Endpoint      string              `json:"endpoint"`
	Status        domain.WorkerStatus `json:"status"`
	SessionCount  int                 `json:"sessionCount"`
	MaxSessions   int                 `json:"maxSessions"`
	CPUUsage      figure              `json:"cpuUsage"`
	MemoryUsage   figure              `json:"memoryUsage"`
	Version       optional            `json:"version"`
	Environment   optional            `json:"environment"`
	Description   optional            `json:"description"`
	Labels        map[string]string   `json:"labels"`
	LastHeartbeat stamp               `json:"lastHeartbeat"`
	Uptime        int64               `json:"uptime"` // seconds
	CreatedAt     stamp               `json:"createdAt"`
	UpdatedAt     stamp               `json:"updatedAt"`
	Warning       string              `json:"warning,omitzero"`
	Suspect       string              `json:"suspect,omitzero"` // why it receives no sessions, though it is ONLINE
}

func viewWorker(w *service.WorkerView) workerView {
	return workerView{
		ID: w.ID, Endpoint: w.Endpoint, Status: w.Status(), SessionCount: w.Used, MaxSessions: w.Capacity,
		CPUUsage: figure(w.CPU), MemoryUsage: figure(w.Memory),
		Version: optional(w.Version), Environment: optional(w.Environment), Description: optional(w.Description),
		Labels: w.Labels, LastHeartbeat: stamp(w.LastHeartbeat), Uptime: int64(w.Uptime / time.Second),
		CreatedAt: stamp(w.CreatedAt), UpdatedAt: stamp(w.UpdatedAt), Warning: w.Warning, Suspect: w.Suspect,
	}
}

// shownWorker is a worker that a use case returned, or its error.
func shownWorker(w *service.WorkerView, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return viewWorker(w), nil
}

func (a *api) workers(ctx context.Context, c *call) (any, error) {
	q := c.query()
	var f ports.WorkerFilter
	parse(q, "status", &f.Status, oneOf(domain.WorkerOnline, domain.WorkerOffline, domain.WorkerMaintenance))
	q.text("environment", &f.Environment)
	p := q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	list, total, err := a.Workers.List(ctx, f, p.Page)
	if err != nil {
		return nil, err
	}
	views := make([]workerView, len(list))
	for i, w := range list {
		views[i] = viewWorker(w)
	}
	return struct {
		Workers    []workerView `json:"workers"`
		Pagination pagination   `json:"pagination"`
	}{views, p.of(total)}, nil
}

func (a *api) addWorker(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	r, err := decodeRegistration(b, true)
	if err != nil {
		return nil, err
	}
	return shownWorker(a.Workers.Add(ctx, r))
}

// decodeRegistration reads what a worker says of itself or, if derive, an
// administrator says of it, who may leave the id to be derived from the endpoint.
func decodeRegistration(b *body, derive bool) (domain.Registration, error) {
	r := domain.Registration{Capacity: defaultCapacity, Version: defaultVersion, Environment: defaultEnvironment}
	var id, endpoint, description *string
	var capacity, interval int64
	for b.next() {
		switch b.member() {
		case "workerId":
			b.optional(&id)
		case "endpoint":
			b.optional(&endpoint)
		case "maxSessions":
			if b.integer(&capacity, 1, maxCapacity) {
				r.Capacity = int(capacity)
			}
		case "description":
			b.optional(&description)
		case "version":
			b.word(&r.Version)
		case "environment":
			b.word(&r.Environment)
		case "labels":
			r.Labels = b.labels()
		case "heartbeatInterval":
			if b.integer(&interval, 1, int64(time.Hour/time.Millisecond)) {
				r.Interval = time.Duration(interval) * time.Millisecond
			}
		case "capabilities":
			r.Capabilities = b.capabilities()
		}
	}
	r.Endpoint = b.checked("endpoint", endpoint, "Endpoint", domain.ParseEndpoint)
	switch {
	case !derive || id != nil && *id != "":
		r.WorkerID = b.checked("workerId", id, "Worker ID", domain.NormalizeWorkerID)
	case r.Endpoint != "":
		derived, err := domain.WorkerIDFromEndpoint(r.Endpoint)
		b.check("endpoint", err)
		r.WorkerID = derived
	}
	if description != nil {
		text, err := domain.CheckDescription(*description)
		b.check("description", err)
		r.Description = text
	}
	return r, b.end()
}

// word reads a short text; an empty one changes nothing.
func (b *body) word(to *string) {
	var s string
	if !b.string(&s) || s == "" {
		return
	}
	if s != clean(s, 4*maxWord) || len([]rune(s)) > maxWord {
		b.mistyped("plain text of at most 50 characters")
		return
	}
	*to = s
}

// labels reads an object of texts. One that is there is not nil.
func (b *body) labels() map[string]string {
	if !b.object() {
		return nil
	}
	labels := make(map[string]string)
	for b.next() {
		name := b.member()
		var value string
		if !b.string(&value) {
			continue
		}
		if name == "" || name != clean(name, 4*maxWord) || value != clean(value, 4*maxWord) {
			b.mistyped("a label: a name and a text, short and plain")
			continue
		}
		labels[name] = value
	}
	if len(labels) > maxLabels {
		b.add("labels", "At most %d labels are kept", maxLabels)
	}
	return labels
}

// capabilities reads the extensions that a worker announces. Those that nobody
// knows here are ignored, and so is anything but a list: older workers send
// other things under that name.
func (b *body) capabilities() []domain.Capability {
	if b.kind() != '[' || !b.array() {
		return nil
	}
	var list []domain.Capability
	for b.item() {
		if b.kind() != '"' {
			continue
		}
		var s string
		b.string(&s)
		switch known := domain.Capability(s); known {
		case domain.CapLease, domain.CapGeneration, domain.CapDedupe:
			list = append(list, known)
		}
	}
	return list
}

func (a *api) worker(ctx context.Context, c *call) (any, error) {
	w, sessions, err := a.Workers.Get(ctx, c.workerRef())
	if err != nil {
		return nil, err
	}
	views := make([]sessionView, len(sessions))
	for i, s := range sessions {
		views[i] = viewSession(s, w.Worker, true)
	}
	return struct {
		workerView
		SessionBreakdown domain.Breakdown `json:"sessionBreakdown"`
		Sessions         []sessionView    `json:"sessions"`
		Drain            *drainView       `json:"drain"` // null unless it is draining
	}{viewWorker(w), w.Breakdown, views, viewDrain(w.Drain)}, nil
}

type loadView struct {
	At           stamp  `json:"at"`
	SessionCount int    `json:"sessionCount"`
	CPUUsage     figure `json:"cpuUsage"`
	MemoryUsage  figure `json:"memoryUsage"`
}

// workerLoad gives the recorded load of the last day, or since a time.
func (a *api) workerLoad(ctx context.Context, c *call) (any, error) {
	q := c.query()
	since := c.start.Add(-24 * time.Hour)
	q.time("since", &since)
	if err := q.end(); err != nil {
		return nil, err
	}
	samples, err := a.Workers.LoadSamples(ctx, c.workerRef(), since)
	if err != nil {
		return nil, err
	}
	views := make([]loadView, len(samples))
	for i, l := range samples {
		views[i] = loadView{stamp(l.At), l.Sessions, figure(l.CPU), figure(l.Memory)}
	}
	return struct {
		WorkerID string     `json:"workerId"`
		Since    stamp      `json:"since"`
		Metrics  []loadView `json:"metrics"`
	}{c.workerRef(), stamp(since), views}, nil
}

func (a *api) updateWorker(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	ch, err := decodeWorkerChange(b)
	if err != nil {
		return nil, err
	}
	return shownWorker(a.Workers.Update(ctx, c.workerRef(), ch))
}

func decodeWorkerChange(b *body) (service.WorkerChange, error) {
	var ch service.WorkerChange
	var description *string
	for b.next() {
		switch b.member() {
		case "maxSessions":
			var n int64
			if b.integer(&n, 1, maxCapacity) {
				capacity := int(n)
				ch.Capacity = &capacity
			}
		case "description":
			b.optional(&description)
		case "version":
			ch.Version = b.newWord()
		case "environment":
			ch.Environment = b.newWord()
		case "labels":
			ch.Labels = b.labels()
		default:
			b.unknown("maxSessions, description, version, environment or labels")
		}
	}
	if description != nil {
		text, err := domain.CheckDescription(*description)
		b.check("description", err)
		ch.Description = &text
	}
	return ch, b.end()
}

func (b *body) newWord() *string {
	var s string
	if b.word(&s); s == "" {
		return nil
	}
	return &s
}

// removeWorker is an administrator's; a worker that calls it leaves.
func (a *api) removeWorker(ctx context.Context, c *call) (any, error) {
	id := c.workerRef()
	if c.worker {
		return a.leave(ctx, c, id, "")
	}
	q := c.query()
	var force bool
	q.flag("force", &force)
	if err := q.end(); err != nil {
		return nil, err
	}
	if err := a.Workers.Remove(ctx, id, service.RemoveOptions{Force: force}); err != nil {
		return nil, err
	}
	return struct {
		WorkerID string `json:"workerId"`
		Deleted  bool   `json:"deleted"`
	}{id, true}, nil
}

func (a *api) drain(ctx context.Context, c *call) (any, error) {
	return shownWorker(a.Workers.Drain(ctx, c.workerRef()))
}

func (a *api) activate(ctx context.Context, c *call) (any, error) {
	return shownWorker(a.Workers.Activate(ctx, c.workerRef()))
}

type statisticsView struct {
	Workers struct {
		Total             int    `json:"total"`
		Online            int    `json:"online"`
		Offline           int    `json:"offline"`
		Maintenance       int    `json:"maintenance"`
		HealthyPercentage figure `json:"healthyPercentage"`
	} `json:"workers"`
	Sessions struct {
		Total            int                   `json:"total"`
		AveragePerWorker figure                `json:"averagePerWorker"`
		ByStatus         map[domain.Status]int `json:"byStatus"`
	} `json:"sessions"`
	Capacity struct {
		Total     int `json:"total"`
		Used      int `json:"used"`
		Available int `json:"available"`
	} `json:"capacity"`
	Resources struct {
		AvgCPUUsage    figure `json:"avgCpuUsage"`
		AvgMemoryUsage figure `json:"avgMemoryUsage"`
	} `json:"resources"`
}

func (a *api) statistics(ctx context.Context, _ *call) (any, error) {
	s, err := a.Workers.Statistics(ctx)
	if err != nil {
		return nil, err
	}
	var v statisticsView
	v.Workers.Online, v.Workers.Offline, v.Workers.Maintenance = s.Online, s.Offline, s.Maintenance
	v.Workers.Total = s.Online + s.Offline + s.Maintenance
	if v.Workers.Total > 0 {
		v.Workers.HealthyPercentage = figure(100 * float64(s.Online) / float64(v.Workers.Total))
		v.Sessions.AveragePerWorker = figure(float64(s.Used) / float64(v.Workers.Total))
	}
	v.Sessions.ByStatus = make(map[domain.Status]int)
	for _, status := range []domain.Status{
		domain.Init, domain.QRRequired, domain.Connected, domain.Reconnecting, domain.Disconnected, domain.Errored,
	} {
		v.Sessions.ByStatus[status] = s.Sessions[status]
		v.Sessions.Total += s.Sessions[status]
	}
	v.Capacity.Total, v.Capacity.Used, v.Capacity.Available = s.Capacity, s.Used, max(s.Capacity-s.Used, 0)
	v.Resources.AvgCPUUsage, v.Resources.AvgMemoryUsage = figure(s.CPU), figure(s.Memory)
	return v, nil
}

type candidateView struct {
	WorkerID string             `json:"workerId"`
	Score    *float64           `json:"score"` // null if excluded
	Factors  map[string]float64 `json:"factors"`
	Excluded string             `json:"excluded,omitzero"`
}

func (a *api) available(ctx context.Context, c *call) (any, error) {
	chosen, all, err := a.Workers.ExplainPlacement(ctx)
	if err != nil {
		return nil, err
	}
	v := struct {
		Worker     *workerView     `json:"worker"`
		Candidates []candidateView `json:"candidates"`
	}{Candidates: make([]candidateView, len(all))}
	for i, candidate := range all {
		view := candidateView{WorkerID: candidate.WorkerID, Factors: make(map[string]float64), Excluded: candidate.Excluded}
		if candidate.Excluded == "" {
			score := finite(candidate.Score)
			view.Score = &score
		}
		for _, f := range candidate.Factors {
			view.Factors[f.Name] = finite(view.Factors[f.Name] + f.Points)
		}
		v.Candidates[i] = view
	}
	if chosen == "" {
		c.message = "No worker can take a session now"
		return v, nil
	}
	w, _, err := a.Workers.Get(ctx, chosen)
	if err != nil {
		return nil, err
	}
	view := viewWorker(w)
	v.Worker = &view
	return v, nil
}

// finite holds a score within what JSON can say.
func finite(f float64) float64 {
	if math.IsNaN(f) {
		return math.MaxFloat64
	}
	return min(max(f, -math.MaxFloat64), math.MaxFloat64)
}
