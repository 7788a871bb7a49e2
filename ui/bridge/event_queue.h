// Between engine thread and window: keeps events in order and merges what nobody needs one by one,
// so that a busy job never floods the event loop. push() from any thread; take() on the GUI thread.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <vector>

#include "engine/experiment/job_values.h"

namespace fettle::ui {

class EventQueue {
public:
    /// Progress replaces the last progress of its job, streamed text joins the text before it.
    /// Returns whether the queue was empty, so that the receiver has to be woken.
    bool push(JobEvent event);
    /// Up to `limit` events, oldest first.
    std::vector<JobEvent> take(std::size_t limit);
    bool empty() const;

private:
    mutable std::mutex m_mutex;
    std::deque<JobEvent> m_events;
};

}  // namespace fettle::ui
