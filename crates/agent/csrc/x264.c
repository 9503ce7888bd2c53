/* x264 behind five functions, because its parameters are a struct whose layout only its header of the day knows.
 * Settings are for a screen that is watched while it changes: no frame waits for another, every keyframe is asked for. */
#include <stdint.h>
#include <malloc.h>
#include <stdlib.h>
#include <x264.h>

struct session_video {
    x264_t *x264;
    x264_param_t param;
    int64_t pts;
};

static void set_rate(x264_param_t *param, int kbit_per_second, int buffer_kbit, float crf)
{
    param->rc.i_rc_method = X264_RC_CRF;
    param->rc.f_rf_constant = crf;
    param->rc.i_vbv_max_bitrate = kbit_per_second;
    param->rc.i_vbv_buffer_size = buffer_kbit;
}

/* NULL when x264 refuses. Width and height are even. */
struct session_video *session_video_open(int width, int height, int yuv444, int threads, int frames_per_second,
                                         int kbit_per_second, int buffer_kbit, float crf)
{
    struct session_video *video = calloc(1, sizeof *video);
    if (!video)
        return NULL;
    x264_param_t *param = &video->param;
    if (x264_param_default_preset(param, "ultrafast", "zerolatency") < 0)
        goto refused;
    param->i_width = width;
    param->i_height = height;
    param->i_csp = yuv444 ? X264_CSP_I444 : X264_CSP_I420;
    param->i_threads = threads;
    param->b_sliced_threads = threads > 1;
    param->i_keyint_max = X264_KEYINT_MAX_INFINITE;
    param->i_scenecut_threshold = 0;
    param->b_annexb = 1;
    param->b_repeat_headers = 1;
    param->b_aud = 0;
    param->i_fps_num = frames_per_second;
    param->i_fps_den = 1;
    param->i_timebase_num = 1;
    param->i_timebase_den = frames_per_second;
    param->b_vfr_input = 0;
    param->i_log_level = X264_LOG_NONE;
    param->vui.b_fullrange = 1;
    param->vui.i_colorprim = 1;  /* BT.709, which are sRGB's */
    param->vui.i_transfer = 13;  /* sRGB */
    param->vui.i_colmatrix = 6;  /* BT.601 */
    param->analyse.i_weighted_pred = X264_WEIGHTP_NONE;
    /* Flat colours are what an error is seen in, and cost little: they get the finer steps. */
    param->rc.i_aq_mode = X264_AQ_VARIANCE;
    /* Undoes the coarser steps that x264 takes for chroma of full resolution. */
    param->analyse.i_chroma_qp_offset = yuv444 ? -6 : 0;
    set_rate(param, kbit_per_second, buffer_kbit, crf);
    if (x264_param_apply_profile(param, yuv444 ? "high444" : "baseline") < 0)
        goto refused;
    video->x264 = x264_encoder_open(param);
    if (!video->x264)
        goto refused;
    return video;
refused:
    x264_param_cleanup(param);
    free(video);
    return NULL;
}

/* Bytes of the access unit, which stay valid until the next call; below 0 when x264 fails. */
int session_video_encode(struct session_video *video, uint8_t *const planes[3], const int strides[3], int yuv444,
                         int keyframe, const uint8_t **bytes)
{
    x264_picture_t in, out;
    x264_nal_t *nals;
    int count;
    x264_picture_init(&in);
    in.i_type = keyframe ? X264_TYPE_IDR : X264_TYPE_P;
    in.i_pts = video->pts++;
    in.img.i_csp = yuv444 ? X264_CSP_I444 : X264_CSP_I420;
    in.img.i_plane = 3;
    for (int i = 0; i < 3; i++) {
        in.img.plane[i] = planes[i];
        in.img.i_stride[i] = strides[i];
    }
    int length = x264_encoder_encode(video->x264, &nals, &count, &in, &out);
    *bytes = length > 0 ? nals[0].p_payload : NULL;
    return length;
}

int session_video_rate(struct session_video *video, int kbit_per_second, int buffer_kbit, float crf)
{
    set_rate(&video->param, kbit_per_second, buffer_kbit, crf);
    return x264_encoder_reconfig(video->x264, &video->param);
}

void session_video_close(struct session_video *video)
{
    x264_encoder_close(video->x264);
    x264_param_cleanup(&video->param);
    free(video);
    /* Tens of megabytes, which the C library would keep for later. */
    malloc_trim(0);
}
