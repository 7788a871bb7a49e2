// The engine thread: one background thread that runs jobs one after the other on one backend. post,
// cancel, pause and resume may be called from any thread and return at once; events come on the
// engine thread, in order (JobQueued comes on the posting thread, before any other event of that
// job).
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "engine/core/run_control.h"
#include "engine/experiment/job_values.h"

namespace fettle {

class Backend;

class EngineWorker {
public:
    using EventHandler = std::function<void(const JobEvent&)>;

    /// `threads` <= 0: all processors; `device` as makeBackend() takes it. The backend is made on
    /// the engine thread, so construction is instant, and a device that cannot be used fails jobs.
    explicit EngineWorker(EventHandler handler, int threads = 0, std::string device = "cpu");
    /// Cancels everything and waits for the running job to notice.
    ~EngineWorker();
    EngineWorker(const EngineWorker&) = delete;
    EngineWorker& operator=(const EngineWorker&) = delete;

    /// Whether the processor multiplies bfloat16.
    static bool hasBfloat16();
    /// Whether jobs posted from now on do, see Backend::useProducts; it is noted in the measure
    /// options of those that have such. At first they do not.
    void useBfloat16(bool use) { m_bfloat16 = use; }
    /// Appends a job. Throws EngineError(Usage) when kMaxQueued jobs wait already.
    JobId post(JobRequest request);
    /// Stops a running job at its next cancellation point, or takes a waiting one out of the queue.
    void cancel(JobId job);
    /// Holds a running job at its next cancellation point; a waiting job starts paused.
    void pause(JobId job);
    void resume(JobId job);
    /// Ends what a running job trains now; it goes on with what it has. Nothing happens while it
    /// trains nothing (JobProgress::finishable).
    void finishEarly(JobId job);

    static constexpr std::size_t kMaxQueued = 10000;

private:
    struct Job {
        JobId id = 0;
        JobRequest request;
        bool bfloat16 = false;
        std::stop_source stop;
        PauseGate gate;
    };
    class Sink;

    void loop(const std::stop_token& stop);
    void runJob(Job& job);
    JobResult execute(Job& job, RunControl& control);
    void emitEvent(const Job& job, JobEventBody body);
    std::shared_ptr<Job> find(JobId id);

    EventHandler m_handler;
    int m_threads;
    std::atomic<bool> m_bfloat16{false};
    std::string m_device;
    std::mutex m_mutex;
    std::condition_variable_any m_wake;
    std::deque<std::shared_ptr<Job>> m_queue;
    std::shared_ptr<Job> m_running;
    JobId m_nextId = 1;
    std::unique_ptr<Backend> m_backend;
    std::jthread m_thread;  // last: it must stop before what it uses goes
};

}  // namespace fettle
