#include "ui/bridge/event_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

namespace fettle::ui {

bool EventQueue::push(JobEvent event) {
    const std::lock_guard lock(m_mutex);
    const bool wasEmpty = m_events.empty();
    // Newest event of the same job: only its neighbour may take the new one in, or events would
    // change their order.
    const auto last = std::find_if(m_events.rbegin(), m_events.rend(),
                                   [&](const JobEvent& e) { return e.job == event.job; });
    if (last != m_events.rend()) {
        auto* progress = std::get_if<JobProgress>(&event.body);
        auto* text = std::get_if<JobText>(&event.body);
        if (progress && std::holds_alternative<JobProgress>(last->body)) {
            last->body = std::move(*progress);
            return wasEmpty;
        }
        if (text && std::holds_alternative<JobText>(last->body)) {
            auto& joined = std::get<JobText>(last->body);
            joined.piece += text->piece;
            joined.tokens.insert(joined.tokens.end(), std::make_move_iterator(text->tokens.begin()),
                                 std::make_move_iterator(text->tokens.end()));
            return wasEmpty;
        }
    }
    m_events.push_back(std::move(event));
    return wasEmpty;
}

std::vector<JobEvent> EventQueue::take(std::size_t limit) {
    const std::lock_guard lock(m_mutex);
    const auto end =
        m_events.begin() + static_cast<std::ptrdiff_t>(std::min(limit, m_events.size()));
    std::vector<JobEvent> taken(std::make_move_iterator(m_events.begin()),
                                std::make_move_iterator(end));
    m_events.erase(m_events.begin(), end);
    return taken;
}

bool EventQueue::empty() const {
    const std::lock_guard lock(m_mutex);
    return m_events.empty();
}

}  // namespace fettle::ui
