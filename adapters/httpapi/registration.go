package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
)

// WorkerDetails is what a worker says of itself, or an administrator says of it.
type WorkerDetails struct {
	MaxSessions       wholeNumber        `json:"maxSessions,omitempty" minimum:"1" maximum:"1000" doc:"50 if it is not given" example:"50"`
	Description       *string            `json:"description,omitempty" doc:"At most 255 characters" example:"Rack 7"`
	Version           string             `json:"version,omitempty" maxLength:"50" doc:"1.0.0 if it is not given" example:"1.2.0"`
	Environment       string             `json:"environment,omitempty" maxLength:"50" doc:"DEVELOPMENT if it is not given" example:"PRODUCTION"`
	Labels            map[string]*string `json:"labels,omitempty" doc:"At most 32 short texts by name" example:"{\"pool\":\"eu\"}"`
	HeartbeatInterval wholeNumber        `json:"heartbeatInterval,omitempty" minimum:"1" maximum:"3600000" doc:"Milliseconds between heartbeats" example:"30000"`
	Capabilities      []string           `json:"capabilities,omitempty" doc:"Extensions: lease, generation, dedupe, replies, ownToken; others are ignored" example:"[\"lease\",\"generation\"]"`
}

// describe checks the details and completes a registration.
func (d *WorkerDetails) describe(p *problems, r *domain.Registration) {
	r.Capacity, r.Version, r.Environment = domain.DefaultWorkerCapacity, domain.DefaultWorkerVersion, domain.DefaultWorkerEnvironment
	if d.MaxSessions != 0 {
		r.Capacity = int(d.MaxSessions)
	}
	if version := p.word("version", d.Version); version != nil {
		r.Version = *version
	}
	if environment := p.word("environment", d.Environment); environment != nil {
		r.Environment = *environment
	}
	r.Labels = p.labels(d.Labels)
	r.Interval = time.Duration(d.HeartbeatInterval) * time.Millisecond
	var capabilities capabilityList
	for _, name := range d.Capabilities {
		capabilities.add(name)
	}
	r.Capabilities = capabilities
	if text := optional(p, "description", d.Description, domain.CheckDescription); text != nil {
		r.Description = *text
	}
}

// word checks a short text; an empty one is nil.
func (p *problems) word(field, s string) *string {
	if s == "" {
		return nil
	}
	if s != clean(s, 4*maxWord) {
		p.addMistyped(field, "plain text of at most 50 characters")
	}
	return &s
}

// labels checks an object of texts. Labels that are given are not nil.
func (p *problems) labels(object map[string]*string) map[string]string {
	if object == nil {
		return nil
	}
	labels := make(map[string]string)
	for name, value := range object {
		switch {
		case value == nil:
		case domain.CheckLabel(name, *value) != nil:
			p.addMistyped(clean(memberOf("labels", name), maxID),
				fmt.Sprintf("a label: a name of 1 to %d bytes and a text of at most %d", domain.MaxLabelBytes, domain.MaxLabelBytes))
		default:
			labels[name] = *value
		}
	}
	p.check("labels", domain.CheckLabels(labels))
	return labels
}

// A wholeNumber also accepts the spellings 50.0 and 5e1.
type wholeNumber int

// UnmarshalJSONFrom reads the number. huma has checked that it is whole and within
// its limits; any other value leaves it as it is.
func (n *wholeNumber) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var f number
	if err := f.UnmarshalJSONFrom(dec); err != nil {
		return err
	}
	if f.given && f.value > -maxExact && f.value < maxExact {
		*n = wholeNumber(f.value)
	}
	return nil
}

// A capabilityList is the extensions that a worker announces. Those that nobody
// knows here are ignored, and so is anything but a list: legacy workers send other
// things under that name.
type capabilityList []domain.Capability

// UnmarshalJSONFrom reads the list.
func (l *capabilityList) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindBeginArray {
		return dec.SkipValue()
	}
	_, err := readList(dec, func() error {
		var s lenientString
		if err := s.UnmarshalJSONFrom(dec); err != nil {
			return err
		}
		l.add(string(s))
		return nil
	})
	return err
}

// add adds an extension that is known and not in the list yet.
func (l *capabilityList) add(name string) {
	switch known := domain.Capability(name); known {
	case domain.CapLease, domain.CapGeneration, domain.CapDedupe, domain.CapMedia, domain.CapReplies, domain.CapOwnToken:
		if !slices.Contains(*l, known) {
			*l = append(*l, known)
		}
	}
}

// Schema describes the list as workers should send it.
func (capabilityList) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "List of extensions: lease, generation, dedupe, media, replies, ownToken; others are ignored", Examples: []any{[]any{"lease", "generation"}}}
}

// registerWorkerBody is what a worker says of itself. Malformed members count as missing,
// and texts are cut, because a worker that is refused a few times never registers again.
// A body that cannot be read to its end is refused nevertheless: its capabilities may be
// lost, and without ownToken the worker would be called with the fleet token.
type registerWorkerBody struct {
	Incomplete        `json:"-"`
	Endpoint          lenientString  `json:"endpoint" doc:"http or https, with the port" example:"\"http://10.0.0.5:8001\""`
	WorkerID          lenientString  `json:"workerId" doc:"3 to 50 characters once it is normalised" example:"\"worker-1\""`
	MaxSessions       lenientNumber  `json:"maxSessions,omitempty" doc:"1 to 1000; 50 if it is not given" example:"50"`
	Description       lenientString  `json:"description,omitempty" doc:"At most 255 characters" example:"\"Rack 7\""`
	Version           lenientString  `json:"version,omitempty" doc:"1.0.0 if it is not given" example:"\"1.2.0\""`
	Environment       lenientString  `json:"environment,omitempty" doc:"DEVELOPMENT if it is not given" example:"\"PRODUCTION\""`
	Labels            lenientLabels  `json:"labels,omitempty" doc:"At most 32 short texts by name" example:"{\"pool\":\"eu\"}"`
	HeartbeatInterval lenientNumber  `json:"heartbeatInterval,omitempty" doc:"Milliseconds between heartbeats, at most 3600000" example:"30000"`
	Capabilities      capabilityList `json:"capabilities,omitempty"`
	StateGroup        lenientString  `json:"stateGroup,omitempty" doc:"Workers with equal values share the credentials of sessions; at most 100 characters" example:"\"nfs-7\""`
	Status            workerStatus   `json:"status,omitempty"`
}

// lenientLabels is an object of texts. Labels that cannot be used are left out.
type lenientLabels map[string]string

// UnmarshalJSONFrom reads the object.
func (l *lenientLabels) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindBeginObject {
		return dec.SkipValue()
	}
	*l = make(lenientLabels)
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() == jsontext.KindString {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		var value lenientString
		if err := value.UnmarshalJSONFrom(dec); err != nil {
			return err
		}
		if value != "" && len(*l) < domain.MaxLabels && domain.CheckLabel(name, string(value)) == nil {
			(*l)[name] = string(value)
		}
	}
	_, err := dec.ReadToken()
	return err
}

// Schema describes the object.
func (lenientLabels) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Object of texts; anything else counts as missing"}
}

type registerWorkerInput struct {
	Body         registerWorkerBody
	registration domain.Registration
}

// Resolve applies the rules of the domain.
func (in *registerWorkerInput) Resolve(ctx huma.Context) []error {
	var p problems
	b := &in.Body
	r := domain.Registration{
		Description: b.Description.cut(maxID), Version: b.Version.cut(maxWord), Environment: b.Environment.cut(maxWord),
		Labels: b.Labels, Capabilities: b.Capabilities, Maintenance: b.Status.maintenance(),
	}
	r.Endpoint = p.named("endpoint", "Endpoint", b.Endpoint, domain.ParseEndpoint)
	r.WorkerID = p.named("workerId", "Worker ID", b.WorkerID, domain.NormalizeWorkerID)
	r.Capacity = p.whole("maxSessions", b.MaxSessions, 1, maxCapacity)
	r.Interval = time.Duration(p.whole("heartbeatInterval", b.HeartbeatInterval, 1, 3600000)) * time.Millisecond
	if _, err := domain.CheckDescription(r.Description); err != nil {
		r.Description = ""
	}
	if b.StateGroup != "" {
		r.StateGroup = p.text("stateGroup", string(b.StateGroup), domain.CheckStateGroup)
	}
	r.ApplyDefaults()
	in.registration = r
	if reason := contextOf(ctx.Context()).incompleteReason(b.Incomplete); reason != "" {
		p.add("body", "%s", reason)
	}
	return p
}

// named applies a rule to a text that is needed.
func (p *problems) named(field, what string, s lenientString, rule func(string) (string, error)) string {
	if s == "" {
		p.addMissing(field, what)
	}
	return p.text(field, string(s), rule)
}

// whole returns a number that is whole and within its bounds, or 0 if there is none.
func (p *problems) whole(field string, n lenientNumber, least, most float64) int {
	switch {
	case !n.given:
		return 0
	case !n.isWhole(least, most):
		p.add(field, "%s must be a whole number from %.0f to %.0f", field, least, most)
		return 0
	}
	return int(n.value)
}

type registeredView struct {
	ID                   string              `json:"id" example:"worker-1"`
	WorkerID             string              `json:"workerId" example:"worker-1"`
	Endpoint             string              `json:"endpoint" example:"http://10.0.0.5:8001"`
	Status               domain.WorkerStatus `json:"status" example:"ONLINE"`
	SessionCount         int                 `json:"sessionCount" example:"2"`
	MaxSessions          int                 `json:"maxSessions" example:"50"`
	Description          view.String         `json:"description" example:"Rack 7"`
	Version              view.String         `json:"version" example:"1.2.0"`
	Environment          view.String         `json:"environment" example:"PRODUCTION"`
	RecoveryRequired     bool                `json:"recoveryRequired" doc:"Sessions are assigned to the worker: it has to recover them" example:"true"`
	AssignedSessionCount int                 `json:"assignedSessionCount" example:"2"`
	LastHeartbeat        view.Time           `json:"lastHeartbeat"`
	CreatedAt            view.Time           `json:"createdAt"`
	UpdatedAt            view.Time           `json:"updatedAt"`
	workerTokensView
	HeartbeatIntervalMS int64         `json:"heartbeatIntervalMs,omitzero" doc:"Milliseconds between heartbeats" example:"30000"`
	LeaseMS             int64         `json:"leaseMs,omitzero" doc:"Milliseconds that it may run without an accepted heartbeat" example:"45000"`
	Commands            []commandView `json:"commands" doc:"To be carried out before anything is started"`
}

// workerTokensView is the credentials of a worker. Legacy workers log the whole answer
// to their registration, and get none.
type workerTokensView struct {
	WorkerToken string `json:"workerToken,omitzero" doc:"The worker's own token, for workers that announce capabilities; it ends with the next registration of this id, or with the worker" example:"wt_worker-1_5d41402abc4b2a76_f6cfa48e"`
	CallToken   string `json:"callToken,omitzero" doc:"What calls to the worker carry from now on, for workers that announce ownToken" example:"ct_7d793037a076"`
}

// handOutTokens returns the credentials for a worker that has registered.
func (a *api) handOutTokens(w *domain.Worker) (v workerTokensView) {
	if w.TokenEpoch == "" {
		return v
	}
	v.WorkerToken = a.WorkerTokens.Own(w.ID, w.TokenEpoch)
	if w.Supports(domain.CapOwnToken) {
		v.CallToken = a.WorkerTokens.Call(w.ID, w.TokenEpoch)
	}
	return v
}

// commandView tells a worker what to do.
type commandView struct {
	Type       string `json:"type" example:"STOP_SESSION"`
	SessionID  string `json:"sessionId" example:"support"`
	Generation int64  `json:"generation" doc:"This generation and older ones are never to be started again" example:"3"`
}

const stopSession = "STOP_SESSION"

func (a *api) registerWorker(ctx context.Context, c *requestContext, in *registerWorkerInput) (registeredView, error) {
	if _, err := c.checkOwnToken(in.registration.WorkerID); err != nil {
		return registeredView{}, err
	}
	in.registration.Holder = c.holder
	r, err := a.Protocol.Register(ctx, in.registration)
	if err != nil {
		return registeredView{}, err
	}
	if r.Known {
		c.success = http.StatusOK
	}
	w := r.Worker
	return registeredView{
		ID: w.ID, WorkerID: w.ID, Endpoint: w.Endpoint, Status: w.Status(), SessionCount: w.Used,
		MaxSessions: w.Capacity, Description: view.String(w.Description), Version: view.String(w.Version),
		Environment: view.String(w.Environment), RecoveryRequired: r.Assigned > 0, AssignedSessionCount: r.Assigned,
		LastHeartbeat: view.Time(w.LastHeartbeat), CreatedAt: view.Time(w.CreatedAt), UpdatedAt: view.Time(w.UpdatedAt),
		workerTokensView: a.handOutTokens(w), HeartbeatIntervalMS: r.Interval.Milliseconds(), LeaseMS: r.Lease.Milliseconds(),
		Commands: viewCommands(r.Commands),
	}, nil
}
