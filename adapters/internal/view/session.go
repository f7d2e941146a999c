package view

import "github.com/switchyard-wa/switchyard/domain"

// SessionView is a session.
type SessionView struct {
	ID          string                  `json:"id" example:"support"`
	SessionID   string                  `json:"sessionId" doc:"The same id, by the name that other answers use" example:"support"`
	UserID      string                  `json:"userId" example:"01JX3B5ZKQ7M"`
	Name        string                  `json:"name" example:"Support"`
	Description String                  `json:"description" example:"Front desk"`
	DisplayName String                  `json:"displayName" doc:"Name of the WhatsApp account" example:"Ada's shop"`
	PhoneNumber String                  `json:"phoneNumber" example:"6281234567890"`
	Status      domain.Status           `json:"status" doc:"INIT, QR_REQUIRED, CONNECTED, RECONNECTING, DISCONNECTED or ERROR" example:"CONNECTED"`
	LastError   string                  `json:"lastError,omitzero" doc:"Why the status is ERROR"`
	WorkerID    String                  `json:"workerId" example:"worker-1"`
	Worker      Nullable[SessionWorker] `json:"worker" doc:"Null while the session is on no worker"`
	Generation  int64                   `json:"generation" doc:"Grows with every assignment to a worker" example:"3"`
	LastSeenAt  Time                    `json:"lastSeenAt"`
	CreatedAt   Time                    `json:"createdAt"`
	UpdatedAt   Time                    `json:"updatedAt"`
}

// SessionWorker is what a session's owner sees of its worker. Administrators also see where it is.
type SessionWorker struct {
	ID       string              `json:"id" example:"worker-1"`
	Status   domain.WorkerStatus `json:"status" doc:"ONLINE, OFFLINE or MAINTENANCE" example:"ONLINE"`
	Endpoint string              `json:"endpoint,omitzero" doc:"For administrators" example:"http://10.0.0.5:8001"`
}

// Session returns the view of a session on a worker, which may be nil.
func Session(s *domain.Session, w *domain.Worker) SessionView {
	v := SessionView{
		ID: s.ID, SessionID: s.ID, UserID: s.UserID, Name: s.Name, Description: String(s.Description),
		DisplayName: String(s.DisplayName), PhoneNumber: String(s.PhoneNumber),
		Status: s.Status, LastError: s.LastError, WorkerID: String(s.WorkerID), Generation: s.Generation,
		LastSeenAt: Time(s.LastSeenAt), CreatedAt: Time(s.CreatedAt), UpdatedAt: Time(s.UpdatedAt),
	}
	if w != nil {
		v.Worker.Value = &SessionWorker{ID: w.ID, Status: w.Status()}
	}
	return v
}
