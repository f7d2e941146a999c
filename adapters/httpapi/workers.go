package httpapi

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func fleetRoutes() []route {
	return []route{
		operation(route{
			id: "listWorkers", method: get, path: "/workers", tag: tagFleet, credential: admin, limit: perUser, message: "Workers",
			summary:     "List the workers",
			description: "Lists the workers by id, page by page.",
		}, (*api).workers),
		operation(route{
			id: "addWorker", method: post, path: "/workers", tag: tagFleet, credential: admin, limit: perUser, cost: outbound, status: http.StatusCreated, message: "Worker added",
			summary: "Add a worker",
			description: "Calls the worker's health route, then adds it. Without workerId the id is derived from the endpoint. Fails with WORKER_CONFLICT if " +
				"another worker has the id or the endpoint, and with WORKER_UNREACHABLE if the worker does not answer; nothing is added then.",
			errors: []domain.Code{domain.CodeWorkerConflict, domain.CodeWorkerUnreachable, domain.CodeInvalidState},
		}, (*api).addWorker),
		operation(route{
			id: "getStatistics", method: get, path: "/workers/statistics", tag: tagFleet, credential: admin, limit: perUser, message: "Fleet statistics",
			summary:     "Workers, sessions and load in figures",
			description: "Sums up the fleet: workers and sessions by status, capacity, and the average load of the workers that report it.",
		}, (*api).statistics),
		operation(route{
			id: "explainPlacement", method: get, path: "/workers/available", tag: tagFleet, credential: admin, limit: perUser, message: "Where the next session would go",
			summary:     "Explain where the next session would go",
			description: "Returns the worker that the next session would get, and for every candidate its points by factor, or why it is out. `worker` is null if no worker can take a session.",
			errors:      []domain.Code{domain.CodeWorkerNotFound},
		}, (*api).available),
		operation(route{
			id: "testEndpoint", method: post, path: "/workers/test", tag: tagFleet, credential: admin, limit: perUser, cost: outbound, message: "Endpoint tested",
			summary:     "Test an endpoint",
			description: "Calls the health route of an endpoint from this server, without a token. That it does not answer is a result, not an error.",
		}, (*api).testEndpoint),
		operation(route{
			id: "probeWorkers", method: post, path: "/workers/health-check", tag: tagFleet, credential: admin, limit: perUser, cost: outbound, message: "Workers probed",
			summary:     "Probe all workers now",
			description: "Calls the health route of every worker from this server and returns one result for each.",
		}, (*api).probeAll),
		operation(route{
			id: "startProbes", method: post, path: "/workers/health/start", tag: tagFleet, credential: admin, limit: perUser, message: "Health monitor started",
			summary:     "Start the background probes",
			description: "Starts the health monitor on all replicas, within seconds.",
			errors:      []domain.Code{domain.CodeInvalidState},
		}, (*api).startProbes),
		operation(route{
			id: "stopProbes", method: post, path: "/workers/health/stop", tag: tagFleet, credential: admin, limit: perUser, message: "Health monitor stopped",
			summary:     "Stop the background probes",
			description: "Stops the health monitor on all replicas, within seconds. Crashed workers are then noticed by their missing heartbeats alone.",
			errors:      []domain.Code{domain.CodeInvalidState},
		}, (*api).stopProbes),
		operation(route{
			id: "getProbeStatus", method: get, path: "/workers/health/status", tag: tagFleet, credential: admin, limit: perUser, message: "Health monitor",
			summary:     "The state of the background probes",
			description: "Returns whether the health monitor runs, how often it probes a worker, and when this replica last did.",
		}, (*api).probeStatus),
		operation(route{
			id: "getWorker", method: get, path: "/workers/{workerId}", tag: tagFleet, credential: admin, limit: perUser, message: "Worker",
			summary: "Get a worker with its sessions",
			description: "Returns the worker, its sessions, and the progress of its drain, if it is draining. `foreignSessions` lists the sessions that the worker runs, " +
				"or has run, and that this server never gave to it. They may belong to another server and are never wiped. Their ids are taken on this server, also when the " +
				"worker lists them no longer, until `DELETE /workers/{workerId}/foreign-sessions/{id}?wipe=true` deletes their credentials, or the worker is removed with " +
				"`destroyed=true`.",
			errors: []domain.Code{domain.CodeWorkerNotFound},
		}, (*api).getWorker),
		operation(route{
			id: "updateWorker", method: put, path: "/workers/{workerId}", tag: tagFleet, credential: admin, limit: perUser, message: "Worker updated", optional: true,
			summary:     "Change a worker",
			description: "Changes the given fields; the labels as a whole. Any other field is refused.",
			errors:      []domain.Code{domain.CodeWorkerNotFound, domain.CodeInvalidState},
		}, (*api).updateWorker),
		operation(route{
			id: "removeWorker", method: del, path: "/workers/{workerId}", tag: tagFleet, credential: adminWorker, limit: perUser, message: "Worker removed",
			summary: "Remove a worker; with a worker token, leave",
			description: "An administrator removes the worker: its sessions move to others first. Fails with INVALID_STATE while sessions are left on it, " +
				"and if linked sessions would need a new QR scan elsewhere. With `force=true` these move nevertheless, and those that fit nowhere are disconnected. " +
				"Credentials of deleted sessions that the worker has not wiped keep the ids of these sessions taken until " +
				"a worker with this id, this endpoint or the same state group wipes them. `destroyed=true` is for a worker that never returns. With a worker token the worker " +
				"leaves of its own accord and goes OFFLINE; repeating it is no error.",
			errors: []domain.Code{domain.CodeWorkerNotFound, domain.CodeInvalidState},
		}, (*api).removeWorker),
		operation(route{
			id: "getWorkerLoad", method: get, path: "/workers/{workerId}/metrics", tag: tagFleet, credential: admin, limit: perUser, message: "Worker load",
			summary:     "The recorded load of a worker",
			description: "Returns the load over time, the oldest first, since a time or for the last day.",
			errors:      []domain.Code{domain.CodeWorkerNotFound},
		}, (*api).workerLoad),
		operation(route{
			id: "testWorker", method: post, path: "/workers/{workerId}/test", tag: tagFleet, credential: admin, limit: perUser, cost: outbound, message: "Worker tested",
			summary:     "Test a worker",
			description: "Calls the worker's health route from this server. That it does not answer is a result, not an error.",
			errors:      []domain.Code{domain.CodeWorkerNotFound},
		}, (*api).testWorker),
		operation(route{
			id: "drainWorker", method: post, path: "/workers/{workerId}/drain", tag: tagFleet, credential: admin, limit: perUser,
			message: "Worker is draining; its sessions move to others",
			summary: "Drain a worker",
			description: "Sets the worker to MAINTENANCE: it takes no new session, and its sessions move to others in the background. Fails with INVALID_STATE if linked sessions would " +
				"need a new QR scan elsewhere, because no other worker has their credentials; with `force=true` they move all the same. `GET /workers/{workerId}` shows the progress.",
			errors: []domain.Code{domain.CodeWorkerNotFound, domain.CodeInvalidState},
		}, (*api).drain),
		operation(route{
			id: "activateWorker", method: post, path: "/workers/{workerId}/activate", tag: tagFleet, credential: admin, limit: perUser, message: "Worker activated",
			summary:     "Put a worker back to work",
			description: "Sets the worker back to ONLINE, which ends a drain. Fails with WORKER_UNREACHABLE if its health route does not answer.",
			errors:      []domain.Code{domain.CodeWorkerNotFound, domain.CodeWorkerUnreachable, domain.CodeInvalidState},
		}, (*api).activate),
		operation(route{
			id: "stopForeignSession", method: del, path: "/workers/{workerId}/foreign-sessions/{id}", tag: tagFleet, credential: admin, limit: perUser,
			message: "Session stopped",
			summary: "Stop a foreign session, or wipe it",
			description: "For a session that the worker runs, or has run, and that this server never gave to it; `GET /workers/{workerId}` lists these sessions. The call stops the session " +
				"on this worker. Its credentials stay there and its id stays taken, because the session may belong to another server. With `wipe=true` the call also deletes the " +
				"credentials from the worker, and the id is free. Use it only if no other server needs them: the account has to be linked again. Fails with INVALID_STATE for a session " +
				"that this server gave to the worker; stop that one with `POST /sessions/{id}/disconnect`.",
			errors: []domain.Code{
				domain.CodeWorkerNotFound, domain.CodeSessionNotFound, domain.CodeInvalidState, domain.CodeWorkerCommunication, domain.CodeWorkerTimeout, domain.CodeWorkerUnreachable,
			},
		}, (*api).stopForeignSession),
	}
}

const (
	maxCapacity = 1000
	maxWord     = 50 // characters of a version, an environment, a label
)

// WorkerPath names a worker in the path.
type WorkerPath struct {
	WorkerID string `path:"workerId" doc:"Id of the worker, in any spelling" example:"worker-1"`
}

// WorkerView is a worker as administrators see it.
type WorkerView struct {
	ID            string              `json:"id" example:"worker-1"`
	Endpoint      string              `json:"endpoint" example:"http://10.0.0.5:8001"`
	Status        domain.WorkerStatus `json:"status" doc:"ONLINE, OFFLINE or MAINTENANCE" example:"ONLINE"`
	SessionCount  int                 `json:"sessionCount" example:"2"`
	MaxSessions   int                 `json:"maxSessions" example:"50"`
	CPUUsage      nullableFloat       `json:"cpuUsage" doc:"Percent; null if it is unknown" example:"12.35"`
	MemoryUsage   nullableFloat       `json:"memoryUsage" doc:"Percent; null if it is unknown" example:"40.25"`
	Version       view.String         `json:"version" example:"1.2.0"`
	Environment   view.String         `json:"environment" example:"PRODUCTION"`
	Description   view.String         `json:"description" example:"Rack 7"`
	Labels        map[string]string   `json:"labels" example:"{\"pool\":\"eu\"}"`
	StateGroup    view.String         `json:"stateGroup" doc:"Workers with the same group share the credentials of sessions; null if it shares them with none" example:"nfs-7"`
	Failover      string              `json:"failover" enum:"wait,move" doc:"wait: when it is lost, its linked sessions wait for it before they take a worker without their credentials; move: they do not" example:"wait"`
	LastHeartbeat view.Time           `json:"lastHeartbeat"`
	Uptime        int64               `json:"uptime" doc:"Seconds" example:"86400"`
	CreatedAt     view.Time           `json:"createdAt"`
	UpdatedAt     view.Time           `json:"updatedAt"`
	Warning       string              `json:"warning,omitzero" doc:"Why its latest probe failed, while its heartbeats arrive"`
	Suspect       string              `json:"suspect,omitzero" doc:"Why it receives no sessions, though it is ONLINE"`
}

func viewWorker(w *service.WorkerView) WorkerView {
	return WorkerView{
		ID: w.ID, Endpoint: w.Endpoint, Status: w.Status(), SessionCount: w.Used, MaxSessions: w.Capacity,
		CPUUsage: nullableFloat(w.CPU), MemoryUsage: nullableFloat(w.Memory),
		Version: view.String(w.Version), Environment: view.String(w.Environment), Description: view.String(w.Description),
		StateGroup: view.String(w.StateGroup), Failover: cmp.Or(string(w.Failover), string(domain.FailoverWait)),
		Labels: w.Labels, LastHeartbeat: view.Time(w.LastHeartbeat), Uptime: int64(w.Uptime / time.Second),
		CreatedAt: view.Time(w.CreatedAt), UpdatedAt: view.Time(w.UpdatedAt), Warning: w.Warning, Suspect: w.Suspect,
	}
}

// shownWorker returns a worker that a service returned, or its error.
func shownWorker(w *service.WorkerView, err error) (WorkerView, error) {
	if err != nil {
		return WorkerView{}, err
	}
	return viewWorker(w), nil
}

type listWorkersInput struct {
	Status      string `query:"status" doc:"ONLINE, OFFLINE or MAINTENANCE, in any case" example:"ONLINE"`
	Environment string `query:"environment" doc:"At most 255 bytes" example:"PRODUCTION"`
	PageInput
	filter ports.WorkerFilter
}

// Resolve reads the parameters.
func (in *listWorkersInput) Resolve(huma.Context) []error {
	var p problems
	parse(&p, "status", in.Status, &in.filter.Status, oneOf(domain.WorkerOnline, domain.WorkerOffline, domain.WorkerMaintenance))
	in.filter.Environment = p.searchText("environment", in.Environment)
	return p
}

type workerListView struct {
	Workers    []WorkerView `json:"workers"`
	Pagination pagination   `json:"pagination"`
}

func (a *api) workers(ctx context.Context, _ *requestContext, in *listWorkersInput) (workerListView, error) {
	list, total, err := a.Workers.List(ctx, in.filter, in.page())
	if err != nil {
		return workerListView{}, err
	}
	views := make([]WorkerView, len(list))
	for i, w := range list {
		views[i] = viewWorker(w)
	}
	return workerListView{views, paginationOf(in.page(), total)}, nil
}

type addWorkerBody struct {
	Endpoint string  `json:"endpoint" minLength:"1" doc:"http or https, with the port" example:"http://my-host.example.com:8001"`
	WorkerID *string `json:"workerId,omitempty" doc:"3 to 50 characters once it is normalised; derived from the endpoint if it is not given" example:"worker-1"`
	WorkerDetails
}

type addWorkerInput struct {
	Body         addWorkerBody
	registration domain.Registration
}

// Resolve applies the rules of the domain.
func (in *addWorkerInput) Resolve(huma.Context) []error {
	var p problems
	r := &in.registration
	r.Endpoint = p.text("endpoint", in.Body.Endpoint, domain.ParseEndpoint)
	if id := in.Body.WorkerID; id != nil && *id != "" {
		r.WorkerID = p.text("workerId", *id, domain.NormalizeWorkerID)
	} else if r.Endpoint != "" {
		r.WorkerID = p.text("endpoint", r.Endpoint, domain.WorkerIDFromEndpoint)
	}
	in.Body.describe(&p, r)
	return p
}

func (a *api) addWorker(ctx context.Context, _ *requestContext, in *addWorkerInput) (WorkerView, error) {
	return shownWorker(a.Workers.Add(ctx, in.registration))
}

type workerInput struct{ WorkerPath }

type drainInput struct {
	WorkerPath
	ForceScans
}

type workerDetailView struct {
	WorkerView
	SessionBreakdown domain.Breakdown         `json:"sessionBreakdown" doc:"Its sessions by status"`
	Sessions         []view.SessionView       `json:"sessions"`
	Drain            view.Nullable[drainView] `json:"drain" doc:"Null unless it is draining"`
	Foreign          []foreignView            `json:"foreignSessions" doc:"Sessions that it runs, or has run, and that this server never gave to it; by id, at most 1000"`
}

// foreignView is a session that the server never gave to the worker.
type foreignView struct {
	SessionID   string      `json:"sessionId" example:"support"`
	Running     bool        `json:"running" doc:"The worker listed it in its latest heartbeat to the replica that answers. Its id is taken in any case" example:"true"`
	Status      view.String `json:"status" doc:"By that heartbeat; null unless it is running" example:"CONNECTED"`
	PhoneNumber view.String `json:"phoneNumber" example:"6281234567890"`
	FirstSeenAt view.Time   `json:"firstSeenAt" doc:"When the worker first listed it"`
	LastSeenAt  view.Time   `json:"lastSeenAt" doc:"When the worker last listed it; null unless it is running"`
}

type stopForeignInput struct {
	WorkerPath
	SessionPath
	Wipe bool `query:"wipe" doc:"Also deletes its credentials from the worker, which frees the id" example:"false"`
}

type stoppedForeignView struct {
	WorkerID  string `json:"workerId" example:"worker-1"`
	SessionID string `json:"sessionId" example:"support"`
	Wiped     bool   `json:"wiped" example:"false"`
}

func (a *api) stopForeignSession(ctx context.Context, c *requestContext, in *stopForeignInput) (stoppedForeignView, error) {
	worker, session := c.workerRef(), c.sessionRef()
	err := a.Workers.StopForeign(ctx, worker, session, service.StopForeignOptions{Wipe: in.Wipe})
	return stoppedForeignView{worker, session, in.Wipe}, err
}

func (a *api) getWorker(ctx context.Context, c *requestContext, _ *workerInput) (workerDetailView, error) {
	w, sessions, err := a.Workers.Get(ctx, c.workerRef())
	if err != nil {
		return workerDetailView{}, err
	}
	views := make([]view.SessionView, len(sessions))
	for i, s := range sessions {
		views[i] = viewSession(s, w.Worker, true)
	}
	foreign := make([]foreignView, len(w.Foreign))
	for i, f := range w.Foreign {
		foreign[i] = foreignView{
			f.SessionID, f.IsRunning, view.String(f.Status), view.String(f.PhoneNumber), view.Time(f.FirstSeenAt), view.Time(f.LastSeenAt),
		}
	}
	return workerDetailView{viewWorker(w), w.Breakdown, views, view.Nullable[drainView]{Value: viewDrain(w.Drain)}, foreign}, nil
}

// drainView is the progress of a drain.
type drainView struct {
	BatchID   string `json:"batchId" example:"01JX3B5ZKQ7M"`
	Total     int    `json:"total" example:"10"`
	Remaining int    `json:"remaining" example:"4"`
	Moving    int    `json:"moving" example:"2"`
	Moved     int    `json:"moved" example:"5"`
	NeedsScan int    `json:"needsScan" doc:"Moved, and wait for a new QR scan" example:"0"`
	Failed    int    `json:"failed" example:"1"`
}

func viewDrain(d *service.DrainProgress) *drainView {
	if d == nil {
		return nil
	}
	v := drainView(*d)
	return &v
}

type workerLoadInput struct {
	WorkerPath
	Since string `query:"since" doc:"RFC 3339, a date, or milliseconds (or seconds) since 1970; a day ago if it is not given" example:"2026-03-01T00:00:00Z"`
	since time.Time
}

// Resolve reads the parameters.
func (in *workerLoadInput) Resolve(huma.Context) []error {
	var p problems
	p.time("since", in.Since, &in.since)
	return p
}

type loadView struct {
	At           view.Time     `json:"at"`
	SessionCount int           `json:"sessionCount" example:"3"`
	CPUUsage     nullableFloat `json:"cpuUsage" doc:"Percent" example:"12.5"`
	MemoryUsage  nullableFloat `json:"memoryUsage" doc:"Percent" example:"40"`
}

type workerLoadView struct {
	WorkerID string     `json:"workerId" example:"worker-1"`
	Since    view.Time  `json:"since"`
	Metrics  []loadView `json:"metrics"`
}

func (a *api) workerLoad(ctx context.Context, c *requestContext, in *workerLoadInput) (workerLoadView, error) {
	since := in.since
	if since.IsZero() {
		since = c.start.Add(-24 * time.Hour)
	}
	samples, err := a.Workers.LoadSamples(ctx, c.workerRef(), since)
	if err != nil {
		return workerLoadView{}, err
	}
	views := make([]loadView, len(samples))
	for i, l := range samples {
		views[i] = loadView{view.Time(l.At), l.Sessions, nullableFloat(l.CPU), nullableFloat(l.Memory)}
	}
	return workerLoadView{c.workerRef(), view.Time(since), views}, nil
}

type updateWorkerBody struct {
	_           struct{}           `additionalProperties:"false"`
	MaxSessions *wholeNumber       `json:"maxSessions,omitempty" minimum:"1" maximum:"1000" example:"50"`
	Description *string            `json:"description,omitempty" doc:"At most 255 characters" example:"Rack 7"`
	Version     string             `json:"version,omitempty" maxLength:"50" doc:"Empty: stays" example:"1.2.0"`
	Environment string             `json:"environment,omitempty" maxLength:"50" doc:"Empty: stays" example:"PRODUCTION"`
	Labels      map[string]*string `json:"labels,omitempty" doc:"At most 32 short texts by name" example:"{\"pool\":\"eu\"}"`
	Failover    *string            `json:"failover,omitempty" doc:"wait or move, in any case. wait: when the worker is lost, its linked sessions wait for it before they take a worker without their credentials; move: they do not" example:"move"`
}

type updateWorkerInput struct {
	WorkerPath
	Body   updateWorkerBody
	change service.WorkerChange
}

// Resolve applies the rules of the domain.
func (in *updateWorkerInput) Resolve(huma.Context) []error {
	var p problems
	b, ch := &in.Body, &in.change
	ch.Capacity = (*int)(b.MaxSessions)
	ch.Description = optional(&p, "description", b.Description, domain.CheckDescription)
	ch.Version, ch.Environment = p.word("version", b.Version), p.word("environment", b.Environment)
	ch.Labels = p.labels(b.Labels)
	ch.Failover = optional(&p, "failover", b.Failover, domain.ParseFailoverPolicy)
	return p
}

func (a *api) updateWorker(ctx context.Context, c *requestContext, in *updateWorkerInput) (WorkerView, error) {
	return shownWorker(a.Workers.Update(ctx, c.workerRef(), in.change))
}

type removeWorkerInput struct {
	WorkerPath
	Force     bool `query:"force" doc:"Also moves linked sessions that need a new QR scan, and disconnects those that fit on no other worker" example:"false"`
	Destroyed bool `query:"destroyed" doc:"You state that the disk of the worker, with the credentials on it, is gone for good. The ids that waited for its wipe are free at once; if its state group has another worker, as soon as that one has wiped the shared disk. Needs force=true, and a worker that is not ONLINE or that was removed before. If the worker returns nevertheless, it is wiped before it starts anything" example:"false"`
}

type removedWorkerView struct {
	WorkerID       view.String `json:"workerId" example:"worker-1"`
	Deleted        bool        `json:"deleted,omitzero" doc:"In the answer to an administrator" example:"true"`
	Status         view.String `json:"status,omitzero" doc:"In the answer to a worker: what it is from now on" example:"OFFLINE"`
	UnregisteredAt *view.Time  `json:"unregisteredAt,omitzero" doc:"In the answer to a worker"`
}

// removeWorker is an administrator's; a worker that calls it leaves.
func (a *api) removeWorker(ctx context.Context, c *requestContext, in *removeWorkerInput) (removedWorkerView, error) {
	id := c.workerRef()
	if c.worker {
		return a.unregisterWorker(ctx, c, id, "")
	}
	return removedWorkerView{WorkerID: view.String(id), Deleted: true}, a.Workers.Remove(ctx, id, service.RemoveOptions{Force: in.Force, Destroyed: in.Destroyed})
}

func (a *api) drain(ctx context.Context, c *requestContext, in *drainInput) (WorkerView, error) {
	return shownWorker(a.Workers.Drain(ctx, c.workerRef(), service.DrainOptions{Force: in.Force}))
}

func (a *api) activate(ctx context.Context, c *requestContext, _ *workerInput) (WorkerView, error) {
	return shownWorker(a.Workers.Activate(ctx, c.workerRef()))
}

type statisticsView struct {
	Workers   workerStatistics   `json:"workers"`
	Sessions  sessionStatistics  `json:"sessions"`
	Capacity  capacityStatistics `json:"capacity"`
	Resources resourceStatistics `json:"resources"`
}

type workerStatistics struct {
	Total             int           `json:"total" example:"3"`
	Online            int           `json:"online" example:"2"`
	Offline           int           `json:"offline" example:"1"`
	Maintenance       int           `json:"maintenance" example:"0"`
	HealthyPercentage nullableFloat `json:"healthyPercentage" nullable:"false" example:"66.67"`
}

type sessionStatistics struct {
	Total            int                   `json:"total" example:"10"`
	AveragePerWorker nullableFloat         `json:"averagePerWorker" nullable:"false" example:"3.33"`
	ByStatus         map[domain.Status]int `json:"byStatus" example:"{\"CONNECTED\":9,\"INIT\":1}"`
}

type capacityStatistics struct {
	Total     int `json:"total" example:"100"`
	Used      int `json:"used" example:"10"`
	Available int `json:"available" example:"90"`
}

type resourceStatistics struct {
	AvgCPUUsage    nullableFloat `json:"avgCpuUsage" doc:"Percent; null if no worker reports it" example:"33.33"`
	AvgMemoryUsage nullableFloat `json:"avgMemoryUsage" doc:"Percent; null if no worker reports it" example:"40"`
}

func (a *api) statistics(ctx context.Context, _ *requestContext, _ *noInput) (statisticsView, error) {
	var v statisticsView
	s, err := a.Workers.Statistics(ctx)
	if err != nil {
		return v, err
	}
	v.Workers.Online, v.Workers.Offline, v.Workers.Maintenance = s.Online, s.Offline, s.Maintenance
	v.Workers.Total = s.Online + s.Offline + s.Maintenance
	if v.Workers.Total > 0 {
		v.Workers.HealthyPercentage = nullableFloat(100 * float64(s.Online) / float64(v.Workers.Total))
		v.Sessions.AveragePerWorker = nullableFloat(float64(s.Used) / float64(v.Workers.Total))
	}
	v.Sessions.ByStatus = make(map[domain.Status]int)
	for _, status := range []domain.Status{
		domain.Init, domain.QRRequired, domain.Connected, domain.Reconnecting, domain.Disconnected, domain.Errored,
	} {
		v.Sessions.ByStatus[status] = s.Sessions[status]
		v.Sessions.Total += s.Sessions[status]
	}
	v.Capacity.Total, v.Capacity.Used, v.Capacity.Available = s.Capacity, s.Used, max(s.Capacity-s.Used, 0)
	v.Resources.AvgCPUUsage, v.Resources.AvgMemoryUsage = nullableFloat(s.CPU), nullableFloat(s.Memory)
	return v, nil
}

type candidateView struct {
	WorkerID string             `json:"workerId" example:"worker-1"`
	Score    *float64           `json:"score" doc:"Null if it is excluded" example:"14.5"`
	Factors  map[string]float64 `json:"factors" doc:"Points by factor" example:"{\"capacity\":4,\"resources\":10.5}"`
	Excluded string             `json:"excluded,omitzero" doc:"Why it is out" example:"offline"`
}

type placementView struct {
	Worker     view.Nullable[WorkerView] `json:"worker" doc:"Null if no worker can take a session"`
	Candidates []candidateView           `json:"candidates"`
}

func (a *api) available(ctx context.Context, c *requestContext, _ *noInput) (placementView, error) {
	chosen, all, err := a.Workers.ExplainPlacement(ctx)
	if err != nil {
		return placementView{}, err
	}
	v := placementView{Candidates: make([]candidateView, len(all))}
	for i, candidate := range all {
		shown := candidateView{WorkerID: candidate.WorkerID, Factors: make(map[string]float64), Excluded: candidate.Excluded}
		if candidate.Excluded == "" {
			score := finite(candidate.Score)
			shown.Score = &score
		}
		for _, f := range candidate.Factors {
			shown.Factors[f.Name] = finite(shown.Factors[f.Name] + f.Points)
		}
		v.Candidates[i] = shown
	}
	if chosen == "" {
		c.message = "No worker can take a session now"
		return v, nil
	}
	w, _, err := a.Workers.Get(ctx, chosen)
	if err != nil {
		return placementView{}, err
	}
	worker := viewWorker(w)
	v.Worker.Value = &worker
	return v, nil
}

// finite holds a score within what JSON can say.
func finite(f float64) float64 {
	if math.IsNaN(f) {
		return math.MaxFloat64
	}
	return min(max(f, -math.MaxFloat64), math.MaxFloat64)
}
