package domain

import "time"

// AnalyticsStep is the finest step of the figures over time that administrators see.
const AnalyticsStep = 5 * time.Minute

// MessageTotal counts the messages of all users by the time at which they were created and by outcome.
type MessageTotal struct {
	At      time.Time // begin of the step, in UTC
	Outcome UsageOutcome
	Count   int // negative if a change takes messages off a counter
}

// FleetSample holds the numbers of users, sessions and workers at one moment.
type FleetSample struct {
	At                 time.Time
	Users, ActiveUsers int // active: not deactivated
	Sessions           int // also those that are down
	ConnectedSessions  int
	Workers            int
	OnlineWorkers      int // also in maintenance
	Capacity, Used     int // slots of the workers that are online
}
