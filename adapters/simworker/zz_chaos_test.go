package simworker_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestChaosTmp(t *testing.T) {
	for seed := range uint64(800) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			var state *simworker.State
			h := apptest.With(t, apptest.Options{Seed: seed, Worker: func(c *simworker.Config) { c.FailRate = 0.05; state = c.State }})
			h.Workers("w1", 10, "w2", 10, "w3", 10)
			u := h.User(domain.TierMax)
			var ids []string
			for i := range 8 {
				s, err := h.Orchestrator.CreateSession(t.Context(), u.ID, ports.NewSession{Name: fmt.Sprint("s", i)})
				if err != nil { t.Fatal(err) }
				ids = append(ids, s.ID)
			}
			for range 150 {
				w := []string{"w1", "w2", "w3"}[r.IntN(3)]
				id := ids[r.IntN(len(ids))]
				k := r.IntN(14)
 if seed == 99999 { fmt.Println("op", k, w, id) }
 switch k {
				case 0: h.Crash(w)
				case 1, 2: h.Boot(w)
				case 3: h.Hang(w, true)
				case 4: h.Hang(w, false)
				case 5: h.CutOff(w, true)
				case 6: h.CutOff(w, false)
				case 7: h.Orchestrator.Disconnect(t.Context(), u.ID, id)
				case 8: h.Orchestrator.Restart(t.Context(), u.ID, id)
				case 9: if r.IntN(4) == 0 { h.Restart() }
				case 10: h.Orchestrator.Send(t.Context(), ports.KeyHolder{UserID: u.ID, SessionID: id}, &domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "x"})
				case 11: if r.IntN(3) == 0 {h.Orchestrator.Logout(t.Context(), u.ID, id)}
				default: h.Orchestrator.Connect(t.Context(), u.ID, id, ports.ConnectOptions{})
				}
				if seed == 99999 { fmt.Println(h.Now().Format("15:04:05.000"), w, id, h.Session("s5-yww9q1e1").Status, h.Session("s5-yww9q1e1").WorkerID, h.Session("s5-yww9q1e1").Generation, h.Session("s5-yww9q1e1").Order,"owners", h.Owners("s5-yww9q1e1"), "lease w1", h.Worker("w1").LeaseEnd().Format("15:04:05.000"), h.Worker("w1").Registered()) }
				h.Advance(time.Duration(r.IntN(20000)) * time.Millisecond)
			}
			for _, w := range []string{"w1", "w2", "w3"} { h.Boot(w); h.Hang(w, false); h.CutOff(w, false) }
			h.Advance(5 * time.Minute)
			for _, id := range ids {
				s := h.Session(id)
				if s.Intent == domain.Up && s.Status != domain.Connected || len(h.Owners(id)) > 1 || s.Intent == domain.Down && len(h.Owners(id)) > 0 {
					t.Errorf("%s %s %s owners %v worker %s order %s tries %d err %s", id, s.Intent, s.Status, h.Owners(id), s.WorkerID, s.Order, s.Tries, s.LastError)
				}
			}
			entries, _ := state.Journal()
			if seed == 99999 { for _, e := range entries { if e.Session == "s5-yww9q1e1" || e.Event == "crash" { fmt.Printf("%+v\n", e) } } }
			if rep := simworker.Repeats(entries); len(rep) > 0 { t.Errorf("repeats %v", rep) }
		})
	}
}
