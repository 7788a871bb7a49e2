#include "engine/job/engine_worker.h"

#include <algorithm>
#include <new>

#include "engine/backend/backend.h"
#include "engine/job/draft_trials.h"
#include "engine/job/recipe_runner.h"
#include "engine/model/model.h"
#include "kernels/cpu/isa.h"

namespace fettle {

namespace {

std::int64_t experimentOf(const JobRequest& request) {
    const RunRequest* run = std::get_if<RunRequest>(&request);
    return run ? run->experiment : 0;
}

}  // namespace

// Turns what a job reports into events.
class EngineWorker::Sink : public ProgressSink {
public:
    Sink(EngineWorker& worker, const Job& job) : m_worker(worker), m_job(job) {}
    void progress(const JobProgress& progress) override { m_worker.emitEvent(m_job, progress); }
    void log(JobLog::Level level, const std::string& text) override {
        m_worker.emitEvent(m_job, JobLog{level, text});
    }
    void series(const SeriesPoint& point) override { m_worker.emitEvent(m_job, JobSeries{point}); }
    void metric(const Measurement& metric) override {
        m_worker.emitEvent(m_job, JobMetric{metric});
    }
    void stepFinished(const StepReport& step) override {
        m_worker.emitEvent(m_job, JobStepFinished{step});
    }
    void text(const std::string& piece) override { m_worker.emitEvent(m_job, JobText{piece, {}}); }
    void tokens(const std::string& piece, const std::vector<TokenPiece>& pieces) override {
        m_worker.emitEvent(m_job, JobText{piece, pieces});
    }

private:
    EngineWorker& m_worker;
    const Job& m_job;
};

EngineWorker::EngineWorker(EventHandler handler, int threads, std::string device)
    : m_handler(std::move(handler)),
      m_threads(threads),
      m_device(std::move(device)),
      m_thread([this](const std::stop_token& stop) { loop(stop); }) {}

EngineWorker::~EngineWorker() {
    {
        std::lock_guard lock(m_mutex);
        m_queue.clear();
        if (m_running)
            m_running->stop.request_stop();
    }
    m_thread.request_stop();
}

bool EngineWorker::hasBfloat16() {
    return kernels::hasBf16Products();
}

JobId EngineWorker::post(JobRequest request) {
    auto job = std::make_shared<Job>();
    {
        std::lock_guard lock(m_mutex);
        if (m_queue.size() >= kMaxQueued)
            throw EngineError(ErrorKind::Usage,
                              "the queue is full (" + std::to_string(kMaxQueued) + " jobs wait)");
        job->id = m_nextId++;
    }
    job->request = std::move(request);
    job->bfloat16 = m_bfloat16;
    std::visit(
        [&](auto& asked) {
            if constexpr (requires { asked.measure.bfloat16; })
                asked.measure.bfloat16 = job->bfloat16;
        },
        job->request);
    emitEvent(*job, JobQueued{jobTitle(job->request)});
    const JobId id = job->id;
    {
        std::lock_guard lock(m_mutex);
        m_queue.push_back(std::move(job));
    }
    m_wake.notify_one();
    return id;
}

std::shared_ptr<EngineWorker::Job> EngineWorker::find(JobId id) {
    std::lock_guard lock(m_mutex);
    if (m_running && m_running->id == id)
        return m_running;
    const auto found = std::find_if(m_queue.begin(), m_queue.end(),
                                    [&](const auto& job) { return job->id == id; });
    return found == m_queue.end() ? nullptr : *found;
}

void EngineWorker::cancel(JobId id) {
    // A waiting job stays in the queue and ends at its first cancellation point, so that its
    // JobCancelled event comes in order and on the engine thread like all others.
    if (const std::shared_ptr<Job> job = find(id))
        job->stop.request_stop();
}

void EngineWorker::pause(JobId id) {
    if (const std::shared_ptr<Job> job = find(id)) {
        job->gate.pause();
        emitEvent(*job, JobPaused{});
    }
}

void EngineWorker::resume(JobId id) {
    if (const std::shared_ptr<Job> job = find(id)) {
        job->gate.resume();
        emitEvent(*job, JobResumed{});
    }
}

void EngineWorker::finishEarly(JobId id) {
    if (const std::shared_ptr<Job> job = find(id))
        job->gate.finishEarly();
}

void EngineWorker::emitEvent(const Job& job, JobEventBody body) {
    m_handler({job.id, experimentOf(job.request), std::move(body)});
}

void EngineWorker::loop(const std::stop_token& stop) {
    while (true) {
        std::shared_ptr<Job> job;
        {
            std::unique_lock lock(m_mutex);
            if (!m_wake.wait(lock, stop, [this] { return !m_queue.empty(); }) ||
                stop.stop_requested())
                return;
            job = m_queue.front();
            m_queue.pop_front();
            m_running = job;
        }
        runJob(*job);
        std::lock_guard lock(m_mutex);
        m_running.reset();
    }
}

void EngineWorker::runJob(Job& job) {
    Sink sink(*this, job);
    RunControl control(job.stop.get_token(), &job.gate, sink);
    const auto fail = [&](ErrorKind kind, const std::string& message) {
        emitEvent(job, JobFailed{{kind, message}});
    };
    try {
        control.check();
        emitEvent(job, JobStarted{});
        if (!m_backend) {
            m_backend = makeBackend(m_device, m_threads);
            if (const std::string why = chooseDevice(m_device).reason; !why.empty())
                control.info(why);
        }
        m_backend->useProducts(job.bfloat16 ? kernels::Products::BFloat16
                                            : kernels::Products::Float32);
        JobResult result = execute(job, control);
        emitEvent(job, JobFinished{std::move(result)});
    } catch (const Cancelled&) {
        emitEvent(job, JobCancelled{});
    } catch (const EngineError& error) {
        // A device that failed does not recover in place: the next job opens it anew.
        if (error.kind() == ErrorKind::Device)
            m_backend.reset();
        fail(error.kind(), error.what());
    } catch (const std::bad_alloc&) {
        fail(ErrorKind::OutOfMemory,
             jobTitle(job.request) +
                 ": not enough memory; a smaller context or a model with fewer bits needs less");
    } catch (const std::exception& error) {
        fail(ErrorKind::Internal, jobTitle(job.request) + ": " + error.what());
    }
}

JobResult EngineWorker::execute(Job& job, RunControl& control) {
    struct Execute {
        Backend& backend;
        RunControl& control;

        JobResult operator()(const InspectRequest& r) const {
            control.beginPhase("Reading", 1);
            return describeModel(loadModel(r.path, &control));
        }
        JobResult operator()(const HistogramRequest& r) const {
            control.beginPhase("Reading", 1);
            return tensorHistogram(loadModel(r.path, &control), r.tensor, r.bins, control);
        }
        JobResult operator()(const EstimateRequest& r) const {
            return estimateRun(r, backend, control);
        }
        JobResult operator()(const RunRequest& r) const { return runRecipe(r, backend, control); }
        JobResult operator()(const EvaluateRequest& r) const {
            return evaluateModel(r, backend, control);
        }
        JobResult operator()(const ExportRequest& r) const {
            return exportAndVerify(r, backend, control);
        }
        JobResult operator()(const GenerateRequest& r) const {
            return generateText(r, backend, control);
        }
        JobResult operator()(const DraftTrialRequest& r) const {
            return tryDrafts(r, backend, control);
        }
    };
    return std::visit(Execute{*m_backend, control}, job.request);
}

}  // namespace fettle
