package service

import (
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// ExportType names what an administrator exports.
type ExportType string

// The types of exports.
const (
	ExportUsers    ExportType = "users"
	ExportSessions ExportType = "sessions"
	ExportMessages ExportType = "messages"
	ExportWorkers  ExportType = "workers"
)

// ExportRequest selects the rows of an export by the time of their creation. Zero times do
// not restrict. Until itself is not in the range.
type ExportRequest struct {
	Type         ExportType
	Format       string // for the audit trail
	Since, Until time.Time
}

// ExportPage is some rows of an export, of one type.
type ExportPage struct {
	Users    []*domain.User
	Sessions []*domain.Session
	Messages []*domain.Message
	Workers  []*WorkerView
}
